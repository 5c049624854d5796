"""RoboMimic's HDF5, the format of the RoboMimic and MimicGen data sets: reader and writer."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.image_cache import cached_images
from l1flow_agents.demonstration import Demonstration, flat
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import replacing, sync


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


# ---- reading ------------------------------------------------------------------------------------------------------


def is_robomimic_hdf5(path: Path) -> bool:
    return path.is_file() and path.suffix in (".hdf5", ".h5")


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
    observations, images = {}, {}
    with _opened(path) as file:
        data = _child(file, "data", h5py.Group)
        demos = [_child(data, name, h5py.Group) for name in _demo_names(file, filter_key)]
        if "obs" not in demos[0]:
            raise DatasetError(
                f"{path}: key '{demos[0].name}/obs' is missing: a raw file of states and actions; add observations "
                "first, as robomimic's dataset_states_to_obs.py does"
            )
        available = sorted(_child(demos[0], "obs", h5py.Group))
        wanted = available if keys is None else sorted(set(keys))
        if missing := sorted(set(wanted) - set(available)):
            raise DatasetError(f"{path}: no observation key {missing}, found {available}")
        lengths = [_length(demo) for demo in demos]
        for key in wanted:
            column = _column(demos, lengths, f"obs/{key}")
            if column[0].dtype == np.uint8 and column[0].ndim == 4:
                images[key] = [dataset.name for dataset in column], (sum(lengths), *column[0].shape[1:])
            else:
                observations[key] = _concatenated(column)
        actions = _concatenated(_column(demos, lengths, "actions"))
    changed = path.stat().st_mtime_ns
    for key, (names, shape) in images.items():
        identity = f"{path.resolve()} {names} {shape} {changed}"
        observations[key] = cached_images(path, identity, shape, _blocks(path, names), cache_dir)
    return Episodes(observations, actions, np.cumsum(lengths), source=str(path))


def read_env_args(path: str | os.PathLike) -> dict:
    """How the environment was made: ``env_name``, ``type``, ``env_kwargs``, and ``env_version`` except in old files.

    Raises:
        DatasetError: missing, or not a JSON object.
    """
    with _opened(path) as file:
        text = _child(file, "data", h5py.Group).attrs.get("env_args")
        if text is None:
            raise DatasetError(f"{path}: attribute 'env_args' of 'data' is missing")
        try:
            env_args = json.loads(_text(text))
        except ValueError as error:
            raise DatasetError(f"{path}: attribute 'env_args' of 'data' is not JSON ({error})") from error
        if not isinstance(env_args, dict):
            raise DatasetError(f"{path}: attribute 'env_args' of 'data': expected a JSON object, found {env_args!r}")
    return env_args


def demo_names(path: str | os.PathLike, filter_key: str | None = None) -> list[str]:
    """``demo_<number>`` of all demonstrations, or of those under ``mask/<filter_key>``, by number.

    Raises:
        DatasetError: no demonstration, no such filter key, or a filter key that lists what is not there.
    """
    with _opened(path) as file:
        return _demo_names(file, filter_key)


def read_demo(path: str | os.PathLike, name: str) -> RawDemo:
    """The demonstration ``name``, such as ``demo_0``, for a replay; raw files are fine.

    Raises:
        DatasetError: no such demonstration, or its arrays are missing, damaged or of different lengths.
    """
    with _opened(path) as file:
        demo = _child(_child(file, "data", h5py.Group), name, h5py.Group)
        length, attributes = _length(demo), dict(demo.attrs)
        model_file = attributes.pop("model_file", None)
        attributes.pop("num_samples", None)

        def array(key: str) -> np.ndarray:
            return _read(_column([demo], [length], key)[0])

        others: list[str] = []
        demo.visititems(lambda key, item: others.append(key) if isinstance(item, h5py.Dataset) else None)
        read = re.compile(r"(states|actions|rewards|dones|(obs|next_obs)/.*)")

        return RawDemo(
            states=array("states").astype(np.float64),
            actions=array("actions").astype(np.float64),
            model_file=None if model_file is None else _text(model_file),
            rewards=array("rewards") if "rewards" in demo else None,
            dones=array("dones") if "dones" in demo else None,
            attributes=attributes,
            extra={key: _read(demo[key]) for key in others if not read.fullmatch(key)},
        )


def read_filter_keys(path: str | os.PathLike) -> dict[str, list[str]]:
    """The demonstrations under every ``mask/<filter_key>``, by number; empty where the file has no ``mask``.

    Raises:
        DatasetError: damaged, or a filter key lists what is not there.
    """
    with _opened(path) as file:
        keys = sorted(_child(file, "mask", h5py.Group)) if "mask" in file else []
        return {key: _demo_names(file, key) for key in keys}


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """h5py raises many kinds of errors; the reader promises one."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"{what} is damaged, truncated or not HDF5 ({error})") from error


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[h5py.File]:
    if not Path(path).is_file():
        raise DatasetError(f"{path}: no such file")
    with _reading(f"{path}: the file"), h5py.File(path, "r") as file:
        yield file


def _child(group: h5py.Group, name: str, kind: type = h5py.Dataset) -> h5py.Group | h5py.Dataset:
    where = f"{group.file.filename}: key '{group.name.rstrip('/')}/{name}'"
    with _reading(where):
        child = group.get(name)
    if not isinstance(child, kind):
        raise DatasetError(f"{where} is missing or not a {kind.__name__.lower()}, found {sorted(group)[:20]}")
    return child


def _read(dataset: h5py.Dataset) -> np.ndarray:
    with _reading(f"{dataset.file.filename}: key {dataset.name!r}"):
        return np.asarray(dataset[()])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)  # old files hold bytes


def _number(name: str) -> int:
    return int(name.removeprefix("demo_"))


def _demo_names(file: h5py.File, filter_key: str | None = None) -> list[str]:
    names = list(_child(file, "data", h5py.Group))
    if filter_key is not None:
        listed = [_text(name) for name in _read(_child(_child(file, "mask", h5py.Group), filter_key))]
        if missing := sorted(set(listed) - set(names)):
            raise DatasetError(
                f"{file.filename}: key '/mask/{filter_key}' lists {missing}, found no such demonstration"
            )
        names = listed
    if not names:
        raise DatasetError(f"{file.filename}: expected at least one demonstration, found none")
    if strange := [name for name in names if not re.fullmatch(r"demo_\d+", name)]:
        raise DatasetError(f"{file.filename}: key '/data': expected demo_<number> only, found {strange[:20]}")
    return sorted(names, key=_number)


def _length(demo: h5py.Group) -> int:
    actions = _child(demo, "actions")
    if actions.ndim != 2:
        raise DatasetError(
            f"{demo.file.filename}: key {actions.name!r}: expected (n_steps, action_dim), found {actions.shape}"
        )
    n_samples = demo.attrs.get("num_samples", len(actions))
    if n_samples != len(actions):
        raise DatasetError(
            f"{demo.file.filename}: key {actions.name!r} has {len(actions)} rows, but num_samples is {n_samples}"
        )
    return len(actions)


def _column(demos: list[h5py.Group], lengths: list[int], key: str) -> list[h5py.Dataset]:
    """The arrays ``key`` of all demonstrations, which must agree in shape, and in being uint8 or not."""
    column = [_child(demo, key) for demo in demos]
    first = column[0]
    for dataset, length in zip(column, lengths, strict=True):
        expected = (length, *first.shape[1:])
        if dataset.shape != expected or (dataset.dtype == np.uint8) != (first.dtype == np.uint8):
            raise DatasetError(
                f"{dataset.file.filename}: key {dataset.name!r}: expected {first.dtype} {expected}, "
                f"found {dataset.dtype} {dataset.shape}"
            )
    return column


def _concatenated(column: list[h5py.Dataset]) -> np.ndarray:
    return np.concatenate([_read(dataset).astype(np.float32) for dataset in column])


def _blocks(path: Path, names: list[str]) -> Iterator[np.ndarray]:
    """The arrays ``names`` one by one; the file is open only while somebody reads."""
    with _opened(path) as file:
        for name in names:
            yield _read(file[name])


# ---- writing ------------------------------------------------------------------------------------------------------


class RobomimicWriter:
    """Writes demonstrations as robomimic does; a kill at any moment loses none that was appended.

    HDF5 has no journal: a file that was open for writing when its process died may not open again. So an appended
    demonstration is first a whole file of its own, ``<path>.parts/demo_<number>.hdf5`` (readable as it is), and
    `close` merges these into a copy of ``path`` that takes its place. Every file is written under a temporary name,
    synced and renamed. A new writer on the same path, closed or killed, continues after the last one; ``len(writer)``
    says how many demonstrations there are. One writer at a time.

    Args:
        path: the ``.hdf5`` file; it appears, or changes, on `close`.
        env_args: how to make the environment: ``env_name``, ``type`` (1 for robosuite), ``env_kwargs``.
        filter_keys: name -> demonstrations, written under ``mask`` on `close`; those not there yet are left out.

    Raises:
        DatasetError: what is there already is damaged or has other ``env_args``.

    Example::

        with RobomimicWriter("lift.hdf5", env_args) as writer:
            while len(writer) < 200:
                writer.append(demonstration(seed=len(writer)))
    """

    def __init__(
        self, path: str | os.PathLike, env_args: Mapping, filter_keys: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self.path = Path(path)
        self._filter_keys = filter_keys or {}
        self.parts = self.path.with_name(self.path.name + ".parts")
        self._env_args = json.dumps(env_args, indent=4)
        self._layout: dict[str, tuple] | None = None
        merged = demo_names(self.path) if self.path.exists() else []
        self._first = _number(merged[-1]) + 1 if merged else 0  # number of the first part that is not merged
        numbers = sorted(_number(part.stem) for part in self.parts.glob("demo_*.hdf5"))
        numbers = [number for number in numbers if number >= self._first]  # others: killed between merge and removal
        if numbers != list(range(self._first, self._first + len(numbers))):
            raise DatasetError(f"{self.parts}: expected demonstrations from {self._first} on, found {numbers}")
        self._n_merged, self._n_parts = len(merged), len(numbers)
        for existing in [self.path] * bool(merged) + [self._part(number) for number in numbers[:1]]:
            self._continue(existing)

    def __len__(self) -> int:
        return self._n_merged + self._n_parts

    def __enter__(self) -> RobomimicWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()  # also after an error: what was appended is whole

    def append(self, demonstration: Demonstration) -> None:
        """Add one demonstration; it is safe on disk when this returns.

        Raises:
            DatasetError: its keys and shapes are not those of the others.
        """
        arrays, name = demonstration.steps(), f"demo_{self._first + self._n_parts}"
        layout = {key: (array.shape[1:], array.dtype) for key, array in arrays.items()}
        if self._layout not in (None, layout):
            raise DatasetError(f"{self.path}: {name}: expected {self._layout} as the others have, found {layout}")
        if not self.parts.exists():
            self.parts.mkdir(parents=True)
            sync(self.parts.parent)
        part = self._part(self._first + self._n_parts)
        with replacing(part, self.parts) as temporary, h5py.File(temporary, "w") as file:
            demo = file.create_group(f"data/{name}")
            for key, array in {**arrays, **flat(demonstration.extra)}.items():
                is_image = array.dtype == np.uint8 and array.ndim == 4
                # A frame a chunk: random access decompresses no more than it needs.
                packing = {"chunks": (1, *array.shape[1:]), "compression": "gzip", "compression_opts": 1}
                demo.create_dataset(key, data=array, **(packing if is_image else {}))
            demo.attrs["num_samples"] = len(demonstration)
            demo.attrs.update(demonstration.attributes)
            if demonstration.model_file is not None:
                demo.attrs["model_file"] = demonstration.model_file
            self._describe(file)
        self._layout = layout
        self._n_parts += 1

    def attributes(self, index: int) -> dict[str, str | int | float]:
        """What demonstration ``index`` carries, such as ``num_samples`` and what `append` was given."""
        path, name = self._where(index)
        with _opened(path) as file:
            demo = _child(_child(file, "data", h5py.Group), name, h5py.Group)
            return {name: value for name, value in demo.attrs.items() if name != "model_file"}

    def read(self, index: int) -> RawDemo:
        """Demonstration ``index``, merged or not."""
        return read_demo(*self._where(index))

    def close(self) -> None:
        """Merge what was appended into ``path``. Appending may go on; closing again then merges the rest."""
        if self._n_parts:
            with replacing(self.path, self.parts) as temporary:
                if self.path.exists():
                    shutil.copyfile(self.path, temporary)
                with h5py.File(temporary, "a") as file:
                    data = file.require_group("data")
                    for number in range(self._first, self._first + self._n_parts):
                        with h5py.File(self._part(number), "r") as part:
                            part.copy(f"data/demo_{number}", data)  # chunks as they are, still compressed
                    self._describe(file)
                    self._filter(file)
        # A kill before this leaves parts that are in the file already: the next writer knows them by their numbers.
        shutil.rmtree(self.parts, ignore_errors=True)
        self._first += self._n_parts
        self._n_merged, self._n_parts = len(self), 0

    def _where(self, index: int) -> tuple[Path, str]:
        number = self._first - self._n_merged + index
        return self._part(number) if number >= self._first else self.path, f"demo_{number}"

    def _part(self, number: int) -> Path:
        return self.parts / f"demo_{number}.hdf5"

    def _describe(self, file: h5py.File) -> None:
        data = file["data"]
        data.attrs["total"] = sum(int(demo.attrs["num_samples"]) for demo in data.values())
        data.attrs["env_args"] = self._env_args

    def _filter(self, file: h5py.File) -> None:
        for key, listed in self._filter_keys.items():
            mask = file.require_group("mask")
            if key in mask:
                del mask[key]
            mask[key] = np.array([name for name in listed if name in file["data"]], dtype="S")

    def _continue(self, path: Path) -> None:
        """Take over the layout of ``path``, which must be of the same environment."""
        found, expected = read_env_args(path), json.loads(self._env_args)
        if found != expected:
            differing = _differences(expected, found)
            listed = "; ".join(f"expected {key} {one!r}, found {other!r}" for key, (one, other) in differing.items())
            raise DatasetError(f"{path}: env_args: {listed}")
        with _opened(path) as file:
            demo = file["data"][_demo_names(file)[0]]
            names = ["actions", "states", "rewards", "dones"]
            names += [f"{group}/{key}" for group in ("obs", "next_obs") for key in demo.get(group, {})]
            arrays = {name: _child(demo, name) for name in names}
            self._layout = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}


def _differences(expected: Mapping, found: Mapping, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Entries of nested mappings that differ, with keys ``a/b/c``; None stands for a missing one."""
    differing: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*expected, *found}):
        one, other = expected.get(key), found.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            differing |= _differences(one, other, f"{prefix}{key}/")
        elif one != other:
            differing[prefix + key] = one, other
    return differing
