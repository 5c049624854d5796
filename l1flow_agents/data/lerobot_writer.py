"""Writer of LeRobotDataset v3.0, which LeRobot's own loader opens (checked with 0.6.1, see docs/lerobot.md)."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.extras import needed
from l1flow_agents.data.lerobot_columns import IMAGES, OWN, STATE, column_names
from l1flow_agents.data.lerobot_layout import CHUNK, PATHS
from l1flow_agents.data.lerobot_stats import Statistics
from l1flow_agents.data.video_writer import VideoWriter
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import replaced_folder

LARGEST_DATA, LARGEST_VIDEO = 100, 200  # MB of a file, LeRobot's own
BLOCK = 64  # pictures in memory at a time
SAMPLED = 8  # pictures of an episode and camera, about, that the statistics look at
INDICES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
INDICES |= {"task_index": "int64"}
PATH = PATHS["v3.0"]


def write_lerobot(episodes: Episodes, path: str | os.PathLike, fps: float, task: str, video: bool = False) -> None:
    """Write ``episodes`` as the folder ``path``, which appears when it is whole.

    Args:
        fps: steps a second.
        task: what all episodes do, in words, unless ``episodes`` say it themselves.
        video: pictures as H.264, which loses a little and takes a tenth of the space; as PNG otherwise, exactly.

    Raises:
        DatasetError: pictures that are not colour pictures, or a package is missing.
    """
    needed("pyarrow", "lerobot")
    tasks = episodes.tasks or (task,) * len(episodes)
    with replaced_folder(Path(path)) as folder:
        _Writer(episodes, folder, fps, tasks, video).write()


class _Writer:
    def __init__(self, episodes: Episodes, folder: Path, fps: float, tasks: tuple[str, ...], video: bool) -> None:
        self.episodes, self.folder, self.fps, self.tasks = episodes, folder, fps, tasks
        self.kind = "video" if video else "image"
        self.images = {key: one for key, one in episodes.observations.items() if len(one.shape) == 4}
        for key, one in self.images.items():
            if one.dtype != np.uint8 or one.shape[3] != 3:
                raise DatasetError(f"{episodes.source}: key {key!r}: expected colour pictures, found {one.shape[1:]}")
        low = {key: one for key, one in episodes.observations.items() if key not in self.images}
        self.low = {key: one for key, one in low.items() if one.ndim <= 2}
        self.arrays: dict[str, np.ndarray] = {f"observation.{k}": one for k, one in low.items() if one.ndim > 2}
        if self.low:
            self.arrays[STATE] = np.concatenate([one.reshape(len(one), -1) for one in self.low.values()], axis=1)
        self.arrays["action"] = episodes.actions
        if episodes.rewards is not None:
            self.arrays["next.reward"] = episodes.rewards
        self.arrays = {name: one.astype(np.float32) for name, one in self.arrays.items()}
        self.videos = {
            IMAGES + key: VideoWriter(folder, IMAGES + key, (one.shape[1], one.shape[2]), fps, LARGEST_VIDEO << 20)
            for key, one in self.images.items()
            if video
        }
        self.statistics = Statistics()

    def write(self) -> None:
        (self.folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        entries = list(self._episodes())
        arrow, parquet = needed("pyarrow", "lerobot"), needed("pyarrow.parquet", "lerobot")
        table = arrow.Table.from_pylist(entries)
        parquet.write_table(table, self.folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
        parquet.write_table(tasks_table(self._task_names()), self.folder / "meta" / "tasks.parquet")
        write_json(self.folder / "meta" / "stats.json", self.statistics.of_all())
        write_json(self.folder / "meta" / "info.json", self._info())
        if self.episodes.env_args is not None:
            write_json(self.folder / OWN, {"env_args": self.episodes.env_args})

    def _episodes(self) -> Iterator[dict[str, Any]]:
        """Write the rows; what the list of episodes says of each."""
        files = DataFiles(self.folder, self._schema())
        names, begin = self._task_names(), 0
        for number, end in enumerate(self.episodes.ends.tolist()):
            rows, length = slice(begin, end), end - begin
            columns: dict[str, Any] = {name: one[rows] for name, one in self.arrays.items()}
            columns |= {
                "timestamp": (np.arange(length) / self.fps).astype(np.float32),
                "frame_index": np.arange(length),
                "episode_index": np.full(length, number),
                "index": np.arange(begin, end),
                "task_index": np.full(length, names.index(self.tasks[number])),
            }
            for name, values in columns.items():
                self.statistics.add(name, values)
            entry = {"episode_index": number, "tasks": [self.tasks[number]], "length": length}
            for key in self.images:
                name = IMAGES + key
                if name in self.videos:
                    entry |= self.videos[name].episode(self._pictures(key, begin, end))
                else:
                    columns[name] = [packed(one, at) for at, one in enumerate(self._pictures(key, begin, end))]
            entry |= files.episode(columns)
            entry |= {"dataset_from_index": begin, "dataset_to_index": end}
            yield {
                **entry,
                **self.statistics.of_episode(),
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            begin = end
        files.close()
        for video in self.videos.values():
            video.close()

    def _pictures(self, key: str, begin: int, end: int) -> Iterator[np.ndarray]:
        step = max(1, (end - begin) // SAMPLED)
        for first in range(begin, end, BLOCK):
            block = np.asarray(self.images[key][first : min(first + BLOCK, end)])
            self.statistics.add_pictures(IMAGES + key, block[::step])
            yield from block

    def _task_names(self) -> list[str]:
        return list(dict.fromkeys(self.tasks))

    def _schema(self) -> Any:
        arrow = needed("pyarrow", "lerobot")
        fields = []
        for name, one in self.arrays.items():
            kind = arrow.float32()
            for size in reversed(one.shape[1:] if one.shape[1:] != (1,) else ()):
                kind = arrow.list_(kind, size)
            fields.append((name, kind))
        if not self.videos:
            picture = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
            fields += [(IMAGES + key, picture) for key in self.images]
        return arrow.schema([*fields, *((name, getattr(arrow, kind)()) for name, kind in INDICES.items())])

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for name, one in self.arrays.items():
            names = column_names(self.low) if name == STATE else column_names({name: one})
            features[name] = {"dtype": "float32", "shape": list(one.shape[1:]) or [1], "names": names}
        for key, picture in self.images.items():
            shape = list(picture.shape[1:])
            features[IMAGES + key] = {"dtype": self.kind, "shape": shape, "names": ["height", "width", "channels"]}
            if self.videos:
                features[IMAGES + key]["info"] = self.videos[IMAGES + key].described()
        features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in INDICES.items()}
        n = len(self.episodes)
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": n,
            "total_frames": self.episodes.n_steps,
            "total_tasks": len(self._task_names()),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": LARGEST_DATA,
            "video_files_size_in_mb": LARGEST_VIDEO,
            "fps": int(self.fps) if self.fps == int(self.fps) else self.fps,
            "splits": {"train": f"0:{n}"},
            "data_path": PATH["data_path"],
            "video_path": PATH["video_path"] if self.videos else None,
            "features": features,
        }


class DataFiles:
    """Parquet files of rows, one row group an episode."""

    def __init__(self, folder: Path, schema: Any) -> None:
        self.folder, self.schema, self.number = folder, schema, -1
        self._writer: Any = None

    def episode(self, columns: Mapping[str, Any]) -> dict[str, int]:
        """Write the rows of one; says in which file."""
        arrow = needed("pyarrow", "lerobot")
        if self._writer is None or self._file.tell() >= LARGEST_DATA << 20:
            self._next()
        arrays = []
        for field in self.schema:
            values = columns[field.name]
            if isinstance(values, np.ndarray):
                values = values.reshape(len(values)) if values.shape[1:] == (1,) else values
                values = values if values.ndim == 1 else values.tolist()
            arrays.append(arrow.array(values, type=field.type))
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self.schema))
        chunk, file = divmod(self.number, CHUNK)
        return {"data/chunk_index": chunk, "data/file_index": file}

    def _next(self) -> None:
        self.close()
        self.number += 1
        chunk, file = divmod(self.number, CHUNK)
        path = self.folder / PATH["data_path"].format(chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "wb")  # noqa: SIM115  # until the next one
        self._writer = needed("pyarrow.parquet", "lerobot").ParquetWriter(self._file, self.schema)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.close()
            self._writer = None


def packed(picture: np.ndarray, at: int) -> dict[str, Any]:
    """A picture (H, W, 3) as Parquet holds it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"frame-{at:06d}.png"}


def tasks_table(names: list[str]) -> Any:
    """The tasks as pandas reads them: with their texts as the index of the table."""
    arrow = needed("pyarrow", "lerobot")
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": one, "numpy_type": other, "metadata": None}
        for name, (one, other) in kinds.items()
    ]
    told = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.3"}
    table = arrow.table({"task_index": np.arange(len(names)), "task": names})
    return table.replace_schema_metadata({"pandas": json.dumps(told)})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=4))
