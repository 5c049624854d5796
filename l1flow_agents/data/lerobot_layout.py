"""What the metadata of a LeRobotDataset, v3.0 or v2.1, say: features, episodes, and where their rows and videos lie.

They come from a file that anybody may have written. Paths are those of the format itself: what ``info.json`` says of
them is compared and never followed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l1flow_agents import limits
from l1flow_agents.data import parquet
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import read_bounded

LONGEST_JSON = 1 << 26  # bytes of a file of metadata: a line an episode, in v2.1
MOST_EPISODES = 1 << 20
CHUNK = 1000  # episodes or files in a folder
PATHS = {
    "v3.0": {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    },
    "v2.1": {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    },
}


@dataclass(frozen=True)
class Feature:
    """One column, or one video a file: ``kind`` is image, video, or that of a number."""

    kind: str
    shape: tuple[int, ...]
    """Of a row; images (H, W, C)."""
    names: tuple[str, ...] = ()
    """Of its numbers, where each has one."""

    @property
    def is_image(self) -> bool:
        return self.kind in ("image", "video")


@dataclass(frozen=True)
class Entry:
    """One episode."""

    index: int
    length: int
    task: str
    data: str
    """File of its rows, below the data set."""
    videos: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Feature -> file, and the second in it at which the episode begins."""


@dataclass(frozen=True)
class Layout:
    """All that the metadata say."""

    version: str
    fps: float
    robot: str | None
    features: Mapping[str, Feature]
    entries: tuple[Entry, ...]
    splits: Mapping[str, range]


def is_lerobot(path: Path) -> bool:
    return (path / "meta" / "info.json").exists()


def read_layout(path: Path) -> Layout:
    """What ``path/meta`` says, checked.

    Raises:
        DatasetError: missing, damaged, or of another version.
    """
    where = path / "meta" / "info.json"
    info = read_json(where)
    version = info.get("codebase_version")
    if version not in PATHS:
        raise DatasetError(f"{where}: expected codebase_version v3.0 or v2.1, found {str(version)[:80]!r}")
    for name, expected in PATHS[version].items():
        if info.get(name) not in (None, expected):
            raise DatasetError(f"{where}: expected {name} {expected!r}, found {str(info[name])[:120]!r}")
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DatasetError(f"{where}: expected fps above 0, found {str(fps)[:80]}")
    features = _features(where, info.get("features"))
    videos = [key for key, one in features.items() if one.kind == "video"]
    entries = tuple(_entries_3(path, videos) if version == "v3.0" else _entries_2(path, videos))
    if [one.index for one in entries] != list(range(len(entries))) or not entries:
        raise DatasetError(f"{path / 'meta'}: expected episodes 0, 1, 2 and so on, found {len(entries)} others")
    splits = {name: _split(text, len(entries)) for name, text in _mapping(info.get("splits")).items()}
    robot = info.get("robot_type")
    return Layout(
        version=version,
        fps=fps,
        robot=robot[:200] if isinstance(robot, str) else None,
        features=features,
        entries=entries,
        splits={name: rows for name, rows in splits.items() if rows is not None},
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size.

    Raises:
        DatasetError: missing, too large, or something else.
    """
    try:
        value = json.loads(read_bounded(path, limits.YAML_BYTES))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; the copy is incomplete") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({str(error)[:200]})") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: expected a JSON object, found {str(value)[:80]}")
    return value


# ---- inside ---------------------------------------------------------------------------------------------------------


def _features(where: Path, given: Any) -> dict[str, Feature]:
    features = {}
    if not isinstance(given, dict) or len(given) > limits.SPACE_KEYS:
        raise DatasetError(f"{where}: expected features as a mapping of at most {limits.SPACE_KEYS}")
    for key, one in given.items():
        one, what = _mapping(one), f"{where}: feature {str(key)[:80]!r}"
        if not re.fullmatch(r"[A-Za-z0-9_][\w.\- ]{0,200}", key):
            raise DatasetError(f"{what}: expected a plain name")
        kind, shape, names = one.get("dtype"), one.get("shape"), one.get("names")
        if kind in ("string", "language") or _is_depth(one):
            continue
        if not isinstance(kind, str) or not re.fullmatch(r"image|video|bool|u?int(8|16|32|64)|float(16|32|64)", kind):
            raise DatasetError(f"{what}: expected a dtype of numbers, images or videos, found {str(kind)[:80]!r}")
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise DatasetError(f"{what}: expected a shape of whole numbers, found {str(shape)[:80]}")
        if len(shape) > 5 or math.prod(shape) > limits.SPACE_NUMBERS:
            raise DatasetError(f"{what}: {str(shape)[:80]} is more than {limits.SPACE_NUMBERS} numbers a step")
        if kind in ("image", "video"):
            shape = _height_first(what, shape, names)
        features[key] = Feature(kind, tuple(shape), _names(names, shape))
    return features


def _height_first(what: str, shape: list[int], names: Any) -> list[int]:
    channels_first = isinstance(names, list) and str(names[:1])[2:9] == "channel"
    shape = [*shape[1:], shape[0]] if channels_first or (shape[:1] == [3] and shape[-1:] != [3]) else shape
    if len(shape) != 3 or shape[2] != 3:
        raise DatasetError(f"{what}: expected colour pictures (H, W, 3), found shape {shape}")
    return shape


def _names(given: Any, shape: list[int]) -> tuple[str, ...]:
    """A name a number; the format also knows them as ``{"motors": [...]}``."""
    if isinstance(given, dict) and len(given) == 1:
        (given,) = given.values()
    if isinstance(given, list) and len(given) == math.prod(shape) and all(isinstance(one, str) for one in given):
        return tuple(one[:200] for one in given)
    return ()


def _is_depth(feature: Mapping[str, Any]) -> bool:
    told = [_mapping(feature.get(name)) for name in ("info", "video_info")]
    return any(one.get("is_depth_map") or one.get("video.is_depth_map") for one in told)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _split(text: Any, n: int) -> range | None:
    """``0:50`` as a range of episodes."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", str(text))
    return range(int(found[1]), min(int(found[2]), n)) if found else None


def _entries_3(path: Path, videos: list[str]) -> Iterator[Entry]:
    files = sorted((path / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise DatasetError(f"{path / 'meta' / 'episodes'}: expected Parquet files, found none; the copy is incomplete")
    whole = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in videos:
        whole += [f"videos/{key}/chunk_index", f"videos/{key}/file_index"]
    names = [*whole, *(f"videos/{key}/from_timestamp" for key in videos)]
    n_episodes = 0
    for file in files:
        columns = {name: values.tolist() for name, values in parquet.numbers(file, dict.fromkeys(names, ())).items()}
        for name in names:
            if any(not 0 <= value < 2**48 or (name in whole and value != int(value)) for value in columns[name]):
                raise DatasetError(f"{file}: column {name!r}: expected numbers of at least 0")
        n_episodes += len(columns.get("length", []))
        if n_episodes > MOST_EPISODES:
            raise DatasetError(f"{file}: more than {MOST_EPISODES} episodes")
        for row, tasks in enumerate(parquet.texts(file, "tasks")):
            one = {name: values[row] for name, values in columns.items()}
            yield Entry(
                index=int(one["episode_index"]),
                length=int(one["length"]),
                task=", ".join(tasks),
                data=_place(PATHS["v3.0"]["data_path"], one, "data"),
                videos={
                    key: (
                        _place(PATHS["v3.0"]["video_path"], one, f"videos/{key}", key),
                        float(one[f"videos/{key}/from_timestamp"]),
                    )
                    for key in videos
                },
            )


def _place(template: str, row: Mapping[str, float], prefix: str, key: str = "") -> str:
    chunk, file = int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"])
    return template.format(chunk_index=chunk, file_index=file, video_key=key)


def _entries_2(path: Path, videos: list[str]) -> Iterator[Entry]:
    where = path / "meta" / "episodes.jsonl"
    try:
        lines = read_bounded(where, LONGEST_JSON).splitlines()
    except FileNotFoundError:
        raise DatasetError(f"{where}: no such file; the copy is incomplete") from None
    except OSError as error:
        raise DatasetError(f"{where}: {error}") from error
    for number, line in enumerate(lines):
        try:
            one = _mapping(json.loads(line))
            index, length, tasks = one["episode_index"], one["length"], one.get("tasks", [])
        except (ValueError, LookupError, RecursionError) as error:
            raise DatasetError(f"{where}: line {number + 1} is damaged ({error!r:.100})") from error
        if not (type(index) is int and type(length) is int and 0 <= index < MOST_EPISODES and 0 <= length < 2**48):
            raise DatasetError(f"{where}: line {number + 1}: expected an index and a length, found {str(one)[:100]}")
        place = {"episode_chunk": index // CHUNK, "episode_index": index}
        template = PATHS["v2.1"]["video_path"]
        yield Entry(
            index=index,
            length=length,
            task=", ".join(str(task)[: parquet.LONGEST_TEXT] for task in tasks) if isinstance(tasks, list) else "",
            data=PATHS["v2.1"]["data_path"].format(**place),
            videos={key: (template.format(video_key=key, **place), 0.0) for key in videos},
        )
