"""Reader of LeRobotDataset, v3.0 and v2.1: rows in Parquet, pictures in videos or in the rows."""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from l1flow_agents.data import parquet
from l1flow_agents.data.bounds import check_declared, check_memory
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import Format
from l1flow_agents.data.lazy_images import LazyImages, cache_bytes
from l1flow_agents.data.lerobot_columns import OWN, short_names, split_columns
from l1flow_agents.data.lerobot_layout import Entry, Layout, is_lerobot, read_json, read_layout
from l1flow_agents.data.video_images import VideoImages
from l1flow_agents.errors import DatasetError
from l1flow_agents.names import shown

ACTION, REWARD = "action", "next.reward"


def read_lerobot(path: str | os.PathLike, keys: Iterable[str] | None = None, filter_key: str | None = None) -> Episodes:
    """Read ``observation.*`` and ``action``.

    Keys are called without ``observation.`` and ``images.``: ``observation.images.top`` is ``top``. A state whose names
    are ``KEY.0``, ``KEY.1``... is taken apart into these keys, as `write_lerobot` puts them together. Low-dimensional
    arrays are read into memory as float32. Pictures are decoded when somebody asks for their rows (`LazyImages`); an
    eighth of memory keeps those that were decoded last.

    Args:
        path: the folder that holds ``meta/info.json``.
        keys: observation keys wanted; all by default.
        filter_key: only the episodes of this split (``train``), or of this task, in words.

    Raises:
        DatasetError: names the file, the feature and the reason.
    """
    path = Path(path)
    layout = read_layout(path)
    return _read(path, layout, _chosen(path, layout, filter_key), keys)


def describe_lerobot(path: Path) -> dict[str, Any]:
    """What the folder holds, as plain values; pictures are not decoded."""
    layout = read_layout(path)
    robot = {} if layout.robot is None else {"robot": layout.robot}
    splits = {name: len(rows) for name, rows in layout.splits.items()}
    told = {"format": f"LeRobotDataset {layout.version}", **robot, "splits": splits}
    return {**told, **_read(path, layout, layout.entries, None).summary()}


# ---- inside ---------------------------------------------------------------------------------------------------------


def _chosen(path: Path, layout: Layout, filter_key: str | None) -> tuple[Entry, ...]:
    if filter_key is None:
        return layout.entries
    rows = layout.splits.get(filter_key)
    chosen = tuple(one for one in layout.entries if (one.index in rows if rows else one.task == filter_key))
    if not chosen:
        tasks = [task for task, _ in Counter(one.task for one in layout.entries).most_common(5)]
        raise DatasetError(
            f"{path}: no episode of the split or task {shown(filter_key)}, found splits {list(layout.splits)}, tasks "
            f"{shown(tasks, 300)}"
        )
    return chosen


def _read(path: Path, layout: Layout, entries: tuple[Entry, ...], keys: Iterable[str] | None) -> Episodes:
    if ACTION not in layout.features or layout.features[ACTION].is_image:
        raise DatasetError(f"{path}: feature 'action' is missing, found {list(layout.features)[:20]}")
    short = short_names(path, layout.features)
    wanted = sorted(short) if keys is None else sorted(set(keys))
    if missing := [key for key in wanted if key not in short]:
        raise DatasetError(f"{path}: no observation key {missing}, found {sorted(short)}")
    sources = {short[key] for key in wanted} | {ACTION, *({REWARD} & layout.features.keys())}
    numbers = {name: layout.features[name] for name in sources if not layout.features[name].is_image}
    rows = _Rows(path, entries, {name: one.shape for name, one in numbers.items()})
    n_steps = len(rows.seconds)
    observations: dict[str, Any] = {}
    n_images = sum(layout.features[short[key]].is_image for key in wanted)
    for key in wanted:
        feature = layout.features[short[key]]
        where, shape = f"{path}: key {key!r}", (n_steps, *feature.shape)
        if not feature.is_image:
            observations[key] = split_columns(rows.values[short[key]], feature.names).get(key, rows.values[short[key]])
        elif feature.kind == "video":
            files, numbers_of = rows.files(lambda one, name=short[key]: one.videos[name][0])
            begins = rows.spread([one.videos[short[key]][1] for one in entries])
            observations[key] = VideoImages(
                where, shape, cache_bytes() // n_images, files, numbers_of, begins + rows.seconds, layout.fps
            )
        else:
            files, numbers_of = rows.files(lambda one: one.data)
            observations[key] = ParquetImages(
                where, shape, cache_bytes() // n_images, short[key], files, numbers_of, rows.row_in_file
            )
    actions = rows.values[ACTION].reshape(n_steps, -1)
    rewards = rows.values.get(REWARD)
    own = read_json(path / OWN) if (path / OWN).is_file() else {}
    env_args = own.get("env_args")
    return Episodes(
        observations,
        actions,
        np.cumsum([one.length for one in entries]),
        source=str(path),
        env_args=env_args if isinstance(env_args, dict) else None,
        rewards=None if rewards is None else rewards.reshape(n_steps),
        fps=layout.fps,
        tasks=tuple(one.task for one in entries),
    )


class _Rows:
    """The rows of some episodes: numbers in memory, and where each row lies."""

    def __init__(self, path: Path, entries: tuple[Entry, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.entries = path, entries
        n_steps, width = sum(one.length for one in entries), sum(map(math.prod, shapes.values()))
        sizes = {one.data: _size(path / one.data) for one in entries}
        check_declared(f"{path / 'meta'}", 8 * n_steps * (width + 2), sum(sizes.values()))
        check_memory(str(path), 4 * n_steps * (width + 4))
        self.values = {name: np.empty((n_steps, *shape), np.float32) for name, shape in shapes.items()}
        self.seconds, self.row_in_file = np.empty(n_steps), np.empty(n_steps, np.int64)
        self._lengths = [one.length for one in entries]
        begin = 0
        for name, group in groupby(entries, lambda one: one.data):
            file = path / name
            columns = parquet.numbers(file, {**shapes, "timestamp": (), "episode_index": ()})
            of_row = columns.get("episode_index", np.empty(0))
            if (np.diff(of_row) < 0).any():
                raise DatasetError(f"{file}: expected rows in the order of their episodes")
            for one in group:
                first, last = np.searchsorted(of_row, [one.index, one.index + 1])
                if last - first != one.length:
                    raise DatasetError(f"{file}: episode {one.index} has {last - first} rows, expected {one.length}")
                end = begin + one.length
                for key, values in self.values.items():
                    values[begin:end] = columns[key][first:last]
                self.seconds[begin:end] = columns["timestamp"][first:last]
                self.row_in_file[begin:end] = np.arange(first, last)
                begin = end
        if not np.isfinite(self.seconds).all():
            raise DatasetError(f"{path}: column 'timestamp' holds a NaN or infinity")

    def spread(self, values: Sequence[float]) -> np.ndarray:
        """A value an episode as one a row."""
        return np.repeat(np.asarray(values), self._lengths)

    def files(self, of: Any) -> tuple[list[Path], np.ndarray]:
        """The files that ``of`` names for the episodes, in order, and the number of its file for each row."""
        numbers: list[int] = []
        files: list[Path] = []
        for name, group in groupby(map(of, self.entries)):
            numbers += [len(files)] * len(list(group))
            files.append(self.path / name)
        return files, self.spread(numbers)


class ParquetImages(LazyImages):
    """Pictures in the rows of Parquet files, PNG or JPEG each; a row group is read where one of its rows is wanted."""

    def __init__(
        self,
        source: str,
        shape: tuple[int, ...],
        kept: int,
        column: str,
        files: Sequence[Path],
        file_of_row: np.ndarray,
        row_in_file: np.ndarray,
    ) -> None:
        super().__init__(source, shape, kept)
        self._column, self._files = column, files
        self._file_of_row, self._row_in_file = file_of_row, row_in_file

    def decode(self, rows: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number, group in groupby(rows, lambda row: int(self._file_of_row[row])):
            path = self._files[number]
            with parquet.opened(path, once=(f"{self._column}.bytes",)) as file:
                parquet.check_columns(path, file, [self._column])
                sizes = [file.metadata.row_group(one).num_rows for one in range(file.num_row_groups)]
                ends = np.cumsum(sizes)

                def group_of(row: int, ends: np.ndarray = ends) -> int:
                    return int(np.searchsorted(ends, self._row_in_file[row], side="right"))

                for index, inside in groupby(group, group_of):
                    parquet.check_group(path, file, index, {self._column: None})
                    column = file.read_row_group(index, columns=[self._column], use_threads=False).column(self._column)
                    begin = int(ends[index]) - sizes[index]
                    for row in inside:
                        yield row, self._picture(path, column[int(self._row_in_file[row]) - begin].as_py())

    def _picture(self, path: Path, stored: Any) -> np.ndarray:
        content = stored.get("bytes") if isinstance(stored, dict) else stored
        if not isinstance(content, bytes):
            raise DatasetError(f"{path}: column {self._column!r}: expected pictures in the rows, found {shown(stored)}")
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
                if (picture.height, picture.width) != self.shape[1:3] or picture.mode not in ("RGB", "RGBA", "L"):
                    found = (picture.height, picture.width, picture.mode)
                    raise DatasetError(f"{path}: column {self._column!r}: expected {self.shape[1:]}, found {found}")
                return np.asarray(picture.convert("RGB"))
        except DatasetError:
            raise
        except Exception as error:  # Pillow raises many kinds
            raise DatasetError(f"{path}: column {self._column!r}: a picture is damaged ({str(error)[:200]})") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; the copy is incomplete") from None


FORMAT = Format("LeRobotDataset", is_lerobot, read_lerobot, describe_lerobot, filter_keys=True)
