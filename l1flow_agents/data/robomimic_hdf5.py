"""Reader of RoboMimic's HDF5, the format of the RoboMimic and MimicGen data sets, and of robosuite's raw files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from l1flow_agents.data import hdf5
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import Format
from l1flow_agents.data.hdf5_columns import Columns, blocks
from l1flow_agents.data.image_cache import cached_images
from l1flow_agents.errors import DatasetError


class RawDemo(NamedTuple):
    """What it takes to replay one demonstration of T steps in its simulator."""

    states: np.ndarray
    """(T, S) float64, the flattened simulator state before each action."""
    actions: np.ndarray
    """(T, action_dim) float64."""
    model_file: str | None
    """The episode's MJCF XML, in robosuite's data sets."""
    rewards: np.ndarray | None
    """(T,) after each action; raw files have none."""
    dones: np.ndarray | None
    """(T,) after each action; raw files have none."""
    attributes: dict[str, Any]
    """The others of the demonstration, such as the seed it came from."""
    extra: dict[str, np.ndarray]
    """All other arrays but observations, by their path, such as ``datagen_info/eef_pose``."""


def is_robomimic_hdf5(path: Path) -> bool:
    """Whether it is HDF5, or is called so: a file that was cut to nothing has no signature left."""
    return path.is_file() and (path.suffix in (".hdf5", ".h5") or h5py.is_hdf5(path))


def read_robomimic_hdf5(
    path: str | os.PathLike,
    keys: Iterable[str] | None = None,
    filter_key: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Episodes:
    """Read ``actions`` and ``obs/*`` of the demonstrations, in the order of their numbers.

    Low-dimensional arrays are read into memory as float32. Images, uint8 (T, H, W, C), are copied once to a flat cache
    file, one demonstration at a time, and memory-mapped from there.

    Args:
        path: the ``.hdf5`` file, of any generation (v0.1, v1.4.1, v1.5).
        keys: observation keys wanted; all by default. Images that nobody asks for are never read.
        filter_key: read only the demonstrations listed under ``mask/<filter_key>``, such as ``train``.
        cache_dir: where copied images go; ``$L1FLOW_CACHE`` or ``~/.cache/l1flow`` by default.

    Raises:
        DatasetError: names the file, the key and the reason.
    """
    path = Path(path)
    episodes, images = _read(path, keys, filter_key)
    observations = dict(episodes.observations)
    changed = path.stat().st_mtime_ns
    for key, names in images.items():
        shape = observations[key].shape
        identity = f"{path.resolve()} {names} {shape} {changed}"
        observations[key] = cached_images(path, identity, shape, blocks(path, names), cache_dir)
    return episodes.with_observations(observations)


def describe_robomimic_hdf5(path: Path) -> dict[str, Any]:
    """What the file holds, as plain values; images are not read. A filter key that is wrong is described as such."""
    with hdf5.opened(path) as file:
        env_args = _env_args(file)
        filter_keys = {key: _count_or_reason(file, key) for key in _filter_keys(file)}
        raw = _is_raw(hdf5.group(hdf5.group(file, "data"), _demo_names(file)[0]))
    described: dict[str, Any] = {"format": "raw robosuite HDF5" if raw else "robomimic HDF5"}
    if raw:
        described["to train from it"] = _advice(path)
    episodes = _read(path, None, None, part="" if raw else "obs")[0]
    return {**described, **episodes.summary(), "filter_keys": filter_keys, "env_args": env_args}


def read_env_args(path: str | os.PathLike) -> dict[str, Any]:
    """How the environment was made: ``env_name``, ``type``, ``env_kwargs``, and ``env_version`` except in old files.

    Of robosuite's raw files they follow from its ``env`` and ``env_info``, as robomimic's conversion makes them.

    Raises:
        DatasetError: missing, or not a JSON object.
    """
    with hdf5.opened(Path(path)) as file:
        env_args = _env_args(file)
    if env_args is None:
        raise DatasetError(
            f"{path}: attribute 'env_args' of 'data' is missing, and so are 'env' and 'env_info', by which robosuite's "
            "raw files say how the environment was made"
        )
    return env_args


def demo_names(path: str | os.PathLike, filter_key: str | None = None) -> list[str]:
    """``demo_<number>`` of all demonstrations, or of those under ``mask/<filter_key>``, by number.

    Raises:
        DatasetError: no demonstration, no such filter key, or a filter key that lists what is not there.
    """
    with hdf5.opened(Path(path)) as file:
        return _demo_names(file, filter_key)


def read_demo(path: str | os.PathLike, name: str) -> RawDemo:
    """The demonstration ``name``, such as ``demo_0``, for a replay; raw files are fine.

    Raises:
        DatasetError: no such demonstration, or its arrays are missing, damaged or of different lengths.
    """
    with hdf5.opened(Path(path)) as file:
        demo = hdf5.group(hdf5.group(file, "data"), name)
        attributes = {key: hdf5.attribute(demo, key) for key in demo.attrs}
        model_file = attributes.pop("model_file", None)
        attributes.pop("num_samples", None)
        observed = re.compile(r"(obs|next_obs)/.*")
        arrays = {
            path: hdf5.array(parent, key) for parent, key, path in hdf5.below(demo) if not observed.fullmatch(path)
        }
        hdf5.check_sizes(file, arrays.values())
        length = _length(demo, hdf5.array(demo, "actions"))
        own = {key: arrays.pop(key, None) for key in ("states", "actions", "rewards", "dones")}
        for key in ("states", "actions"):
            own[key] = own[key] or hdf5.array(demo, key)  # raises where there is none
        for one in own.values():
            if one is not None and (one.shape or ())[:1] != (length,):
                raise DatasetError(f"{one.place}: expected {length} rows as actions have, found {one.shape}")
        states, actions, rewards, dones = (one if one is None else one.values() for one in own.values())
        assert states is not None and actions is not None
        return RawDemo(
            states=states.astype(np.float64),
            actions=actions.astype(np.float64),
            model_file=None if model_file is None else str(model_file),
            rewards=rewards,
            dones=dones,
            attributes=attributes,
            extra={key: one.values(hdf5.NUMBERS + "OSU") for key, one in arrays.items()},
        )


def read_filter_keys(path: str | os.PathLike) -> dict[str, list[str]]:
    """The demonstrations under every ``mask/<filter_key>``, by number; empty where the file has no ``mask``.

    Raises:
        DatasetError: damaged, or a filter key lists what is not there.
    """
    with hdf5.opened(Path(path)) as file:
        return {key: _demo_names(file, key) for key in _filter_keys(file)}


# ---- inside ---------------------------------------------------------------------------------------------------------


def _read(
    path: Path, keys: Iterable[str] | None, filter_key: str | None, part: str = "obs"
) -> tuple[Episodes, dict[str, list[str]]]:
    """The episodes with placeholders for images, and where in the file each of these lies.

    One demonstration is open at a time: HDF5 takes long to close many.
    """
    with hdf5.opened(path) as file:
        names, data = _demo_names(file, filter_key), hdf5.group(file, "data")
        first = hdf5.group(data, names[0])
        if part and _is_raw(first):
            raise DatasetError(f"{path}: key '{first.name}/obs' is missing: {_advice(path)}")
        available = sorted(hdf5.names(hdf5.group(first, part))) if part else ["states"]
        wanted = available if keys is None else sorted(set(keys))
        if missing := sorted(set(wanted) - set(available)):
            raise DatasetError(f"{path}: no observation key {missing}, found {available}")
        columns, lengths = Columns(file), []
        rewarded = True
        for name in names:
            demo = hdf5.group(data, name)
            actions = hdf5.array(demo, "actions")
            lengths.append(_length(demo, actions))
            columns.add("actions", actions, lengths[-1])
            holder = hdf5.group(demo, part) if part else demo
            for key in wanted:
                columns.add(f"obs/{key}", hdf5.array(holder, key), lengths[-1])
            rewards = hdf5.array(demo, "rewards") if rewarded and "rewards" in set(hdf5.names(demo)) else None
            rewarded = rewards is not None and rewards.shape == (lengths[-1],)  # without them one can train, too
            if rewards is not None and rewarded:
                columns.add("rewards", rewards, lengths[-1])
        observations = {key: columns.joined(f"obs/{key}") for key in wanted}
        joined, ends, env_args = columns.joined("actions"), np.cumsum(lengths), _env_args(file)
        told = columns.joined("rewards") if rewarded else None
        episodes = Episodes(observations, joined, ends, str(path), tuple(names), env_args, told)
    return episodes, {key.removeprefix("obs/"): paths for key, paths in columns.images.items()}


def _is_raw(demo: h5py.Group) -> bool:
    return "obs" not in set(hdf5.names(demo))


def _advice(path: Path) -> str:
    return (
        "a raw file of states and actions; observe its states first: "
        f"l1flow add-observations {path} -o {path.with_name(path.stem + '_observed' + path.suffix)}"
    )


def _env_args(file: h5py.File) -> dict[str, Any] | None:
    data = hdf5.group(file, "data")
    if (text := hdf5.attribute(data, "env_args")) is not None:
        return _json(file, "env_args", text) or None
    name, info = hdf5.attribute(data, "env"), hdf5.attribute(data, "env_info")
    if name is None or info is None:
        return None
    kwargs = _json(file, "env_info", info)
    env_args = {"env_name": kwargs.pop("env_name", str(name)), "type": 1, "env_kwargs": kwargs}
    version = hdf5.attribute(data, "repository_version")
    return env_args if version is None else {**env_args, "env_version": str(version)}


def _json(file: h5py.File, name: str, text: Any) -> dict[str, Any]:
    where = f"{file.filename}: attribute {name!r} of 'data'"
    try:
        value = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not JSON ({hdf5.one_line(error)})") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{where}: expected a JSON object, found {str(value)[:80]}")
    return value


def _filter_keys(file: h5py.File) -> list[str]:
    return sorted(hdf5.names(hdf5.group(file, "mask"))) if "mask" in set(hdf5.names(file)) else []


def _count_or_reason(file: h5py.File, filter_key: str) -> int | str:
    try:
        return len(_demo_names(file, filter_key))
    except DatasetError as error:
        return str(error).removeprefix(f"{file.filename}: ")


def _number(name: str) -> int:
    return int(name.removeprefix("demo_"))


def _demo_names(file: h5py.File, filter_key: str | None = None) -> list[str]:
    names = list(hdf5.names(hdf5.group(file, "data")))
    if filter_key is not None:
        names = _listed(file, filter_key, set(names))
    if not names:
        raise DatasetError(f"{file.filename}: expected at least one demonstration, found none")
    if strange := [name for name in names if not re.fullmatch(r"demo_\d{1,18}", name)]:
        raise DatasetError(f"{file.filename}: key '/data': expected demo_<number> only, found {strange[:20]}")
    return sorted(names, key=_number)


def _listed(file: h5py.File, filter_key: str, known: set[str]) -> list[str]:
    where = f"{file.filename}: key '/mask/{filter_key}'"
    mask = hdf5.array(hdf5.group(file, "mask"), filter_key)
    hdf5.check_sizes(file, [mask])
    listed = mask.values("OS")
    if listed.ndim != 1:
        raise DatasetError(f"{where}: expected a list of demonstrations, found an array {listed.shape}")
    names = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in listed]
    if missing := sorted(set(names) - known):
        raise DatasetError(f"{where} lists {missing[:20]}, found no such demonstration")
    if len(set(names)) < len(names):
        raise DatasetError(f"{where} lists a demonstration twice")
    return names


def _length(demo: h5py.Group, actions: hdf5.Array) -> int:
    shape = actions.shape
    if shape is None or len(shape) != 2:
        raise DatasetError(f"{hdf5.place(demo, 'actions')}: expected (n_steps, action_dim), found {shape}")
    n_samples = hdf5.whole_number(demo, "num_samples")
    if n_samples not in (None, shape[0]):
        raise DatasetError(f"{hdf5.place(demo, 'actions')} has {shape[0]} rows, but num_samples is {n_samples}")
    return shape[0]


FORMAT = Format("robomimic HDF5", is_robomimic_hdf5, read_robomimic_hdf5, describe_robomimic_hdf5, filter_keys=True)
