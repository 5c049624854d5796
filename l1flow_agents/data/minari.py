"""Reader and writer of Minari's data sets (HDF5), which hold how their environment is made: see `recovering`."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from l1flow_agents import limits
from l1flow_agents.data import hdf5
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import Format
from l1flow_agents.data.hdf5_columns import Columns
from l1flow_agents.data.image_cache import cached_images, placeholder
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import read_bounded

BARE = "observation"  # of a space that is one box
LONGEST_METADATA = 1 << 26  # bytes: they list the bounds of every pixel
METADATA, DATA = "metadata.json", "main_data.hdf5"


def is_minari(path: Path) -> bool:
    return (_folder(path) / METADATA).exists()


def read_minari(
    path: str | os.PathLike, keys: Iterable[str] | None = None, cache_dir: str | os.PathLike | None = None
) -> Episodes:
    """Read ``observations``, ``actions`` and ``rewards``; of an episode's T + 1 observations the last is left out.

    A bare box is the key ``observation``, dicts inside dicts are ``outer/inner``. Pictures, JPEG or not, are converted
    once to a cache file and memory-mapped from there.

    Args:
        path: the data set's folder, which holds ``data/metadata.json``, or that ``data`` itself.
        keys: observation keys wanted; all by default.
        cache_dir: where converted pictures go; ``$L1FLOW_CACHE`` or ``~/.cache/l1flow`` by default.

    Raises:
        DatasetError: names the file, the key and the reason.
    """
    path = Path(path)
    episodes, pictures = _read(path, read_metadata(path), keys)
    file, observations = _folder(path) / DATA, dict(episodes.observations)
    for key, places in pictures.items():
        shape = observations[key].shape
        identity = f"{file.resolve()} {key} {places[:1]} {shape} {file.stat().st_mtime_ns}"
        observations[key] = cached_images(path, identity, shape, _blocks(file, places, shape[1:]), cache_dir)
    return episodes.with_observations(observations)


def describe_minari(path: Path) -> dict[str, Any]:
    """What the folder holds, as plain values; pictures are not read."""
    metadata = read_metadata(path)
    spec = read_env_spec(path) or {}
    told = {"format": "Minari", "id": str(metadata.get("dataset_id"))[:200], "environment": spec.get("id")}
    return {**told, **_read(path, metadata, None)[0].summary()}


def read_env_spec(path: str | os.PathLike, evaluation: bool = False) -> dict[str, Any] | None:
    """How the environment is made, as `EnvSpec.to_json` has it; None where the data set does not say.

    Args:
        evaluation: that in which agents are to be evaluated, where there is another.

    Raises:
        DatasetError: missing, or no JSON object.
    """
    metadata = read_metadata(Path(path))
    text = (metadata.get("eval_env_spec") if evaluation else None) or metadata.get("env_spec")
    return None if text is None else _object(f"{path}: env_spec", text)


def read_metadata(path: Path) -> dict[str, Any]:
    """What ``metadata.json`` says.

    Raises:
        DatasetError: missing, too large, no JSON object, or of another storage than HDF5.
    """
    where = _folder(path) / METADATA
    try:
        metadata = _object(f"{where}:", read_bounded(where, LONGEST_METADATA))
    except OSError as error:
        raise DatasetError(f"{where}: {error.strerror or error}") from None
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DatasetError(f"{where}: expected data_format 'hdf5', found {str(metadata['data_format'])[:80]!r}")
    return metadata


# ---- inside ---------------------------------------------------------------------------------------------------------


def _folder(path: Path) -> Path:
    return path / "data" if (path / "data").is_dir() else path


def _object(where: str, text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise DatasetError(f"{where} not readable as JSON ({str(error)[:200]})") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{where} expected a JSON object, found {str(value)[:80]}")
    return value


def _boxes(where: str, space: Any, prefix: str = "", depth: int = 4) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Observation key -> shape, of a space as Minari writes it."""
    kind = space.get("type") if isinstance(space, dict) else None
    if kind == "Dict" and isinstance(space.get("subspaces"), dict) and depth:
        for key, inner in space["subspaces"].items():
            yield from _boxes(where, inner, f"{prefix}{key}/", depth - 1)
        return
    shape = space.get("shape") if kind == "Box" else None
    if not isinstance(shape, list) or not all(type(one) is int and one > 0 for one in shape):
        raise DatasetError(f"{where}: expected observations that are a box or a dict of boxes, found {str(kind)[:80]}")
    if math.prod(shape) > limits.SPACE_NUMBERS:
        raise DatasetError(f"{where}: observations of more than {limits.SPACE_NUMBERS} numbers a step")
    yield prefix.rstrip("/") or BARE, tuple(shape)


def _read(path: Path, metadata: Mapping[str, Any], keys: Iterable[str] | None) -> tuple[Episodes, dict[str, list[str]]]:
    """The episodes with placeholders for pictures, and where in the file each of these lies."""
    where = f"{_folder(path) / METADATA}"
    shapes = dict(_boxes(where, _object(f"{where}: observation_space", metadata.get("observation_space", "null"))))
    wanted = sorted(shapes) if keys is None else sorted(set(keys))
    if missing := [key for key in wanted if key not in shapes]:
        raise DatasetError(f"{path}: no observation key {missing}, found {sorted(shapes)}")
    pictures: dict[str, list[str]] = {}
    with hdf5.opened(_folder(path) / DATA) as file:
        columns, lengths = Columns(file), []
        names = sorted((name for name in hdf5.names(file) if re.fullmatch(r"episode_\d{1,18}", name)), key=_number)
        if not names:
            raise DatasetError(f"{file.filename}: expected episode_0 and so on, found {sorted(hdf5.names(file))[:20]}")
        for name in names:
            episode = hdf5.group(file, name)
            actions = hdf5.array(episode, "actions")
            if actions.shape is None or len(actions.shape) != 2 or not actions.shape[0]:
                raise DatasetError(f"{actions.place}: expected (n_steps, action_dim), found {actions.shape}")
            lengths.append(actions.shape[0])
            columns.add("actions", actions, lengths[-1])
            columns.add("rewards", hdf5.array(episode, "rewards"), lengths[-1])
            for key in wanted:
                array = _array(episode, key)
                if len(shapes[key]) == 3 and (array.dtype.kind == "O" or len(array.shape or ()) != 4):  # JPEG
                    if (array.shape or ())[:1] != (lengths[-1] + 1,):
                        raise DatasetError(f"{array.place}: expected {lengths[-1] + 1} rows, found {array.shape}")
                    pictures.setdefault(key, []).append(f"{array.parent.name}/{array.key}")
                else:
                    columns.add(f"observations/{key}", array, lengths[-1] + 1)
        kept = np.ones(sum(lengths) + len(lengths), bool)
        kept[np.cumsum(np.add(lengths, 1)) - 1] = False
        observations = {}
        for key in wanted:
            whole = f"observations/{key}"
            if key in pictures or whole in columns.images:
                places = pictures.setdefault(key, columns.images.get(whole, []))
                if len(places) != len(names):
                    raise DatasetError(f"{path}: key {key!r}: expected pictures as JPEG in all episodes, or in none")
                observations[key] = placeholder((sum(lengths), *shapes[key]))
            else:
                observations[key] = columns.joined(whole)[kept]
        own = metadata.get("l1flow")
        told = own if isinstance(own, dict) else {}
        env_args, fps = told.get("env_args"), told.get("fps")
        episodes = Episodes(
            observations,
            columns.joined("actions"),
            np.cumsum(lengths),
            str(path),
            tuple(names),
            env_args if isinstance(env_args, dict) else None,
            columns.joined("rewards"),
            fps if isinstance(fps, int | float) and fps > 0 else None,
        )
    return episodes, pictures


def _array(episode: h5py.Group, key: str) -> hdf5.Array:
    parent, (*outer, name) = episode, ["observations", *key.split("/")] if key != BARE else ["observations"]
    for one in outer:
        parent = hdf5.group(parent, one)
    return hdf5.array(parent, name)


def _number(name: str) -> int:
    return int(name.removeprefix("episode_"))


def _blocks(path: Path, places: list[str], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The pictures of one episode after the other, all but the last of each."""
    with hdf5.opened(path) as file:
        for place in places:
            *outer, name = place.strip("/").split("/")
            parent: h5py.Group = file
            for one in outer:
                parent = hdf5.group(parent, one)
            array = hdf5.array(parent, name)
            if len(array.shape or ()) == 4:
                yield array.values()[:-1]
                continue
            stored = h5py.Dataset(array.id)
            for row in range(len(stored) - 1):
                yield _picture(array.place, bytes(np.asarray(stored[row], np.uint8)), shape)[None]


def _picture(where: str, content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            if (picture.height, picture.width, len(picture.getbands())) != shape:
                raise DatasetError(f"{where}: expected pictures {shape}, found {picture.height, picture.width}")
            return np.asarray(picture)
    except DatasetError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise DatasetError(f"{where}: a picture is damaged ({str(error)[:200]})") from error


FORMAT = Format("Minari (data/metadata.json)", is_minari, read_minari, describe_minari)
