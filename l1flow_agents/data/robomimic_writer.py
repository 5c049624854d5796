"""Writer of RoboMimic's HDF5: a kill at any moment loses nothing that was appended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from l1flow_agents.data import hdf5
from l1flow_agents.data.robomimic_hdf5 import RawDemo, demo_names, read_demo, read_env_args
from l1flow_agents.demonstration import Demonstration, flat
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import SoleWriter, output_path, replacing, sync


class RobomimicWriter:
    """Writes demonstrations as robomimic does; a kill at any moment loses none that was appended.

    HDF5 has no journal: a file that was open for writing when its process died may not open again. So an appended
    demonstration is first a whole file of its own, ``<path>.parts/demo_<number>.hdf5`` (readable as it is), and
    `close` merges these into a copy of ``path`` that takes its place. Every file is written under a temporary name,
    synced and renamed. A new writer on the same path, closed or killed, continues after the last one; ``len(writer)``
    says how many demonstrations there are. One writer at a time: another process's is refused (ConfigError).

    Args:
        path: the ``.hdf5`` file; it appears, or changes, on `close`.
        env_args: how to make the environment: ``env_name``, ``type`` (1 for robosuite), ``env_kwargs``.
        filter_keys: name -> demonstrations, written under ``mask`` on `close`; those not there yet are left out.

    Raises:
        DatasetError: another suffix than ``.hdf5`` or ``.h5``; what is there is damaged or has other ``env_args``.
        ConfigError: ``path`` cannot be written.

    Example::

        with RobomimicWriter("lift.hdf5", env_args) as writer:
            while len(writer) < 200:
                writer.append(demonstration(seed=len(writer)))
    """

    def __init__(
        self, path: str | os.PathLike, env_args: Mapping, filter_keys: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self.path = output_path(path)
        if self.path.suffix not in (".hdf5", ".h5"):
            raise DatasetError(f"{self.path}: expected a name ending in .hdf5 or .h5")
        self._filter_keys = filter_keys or {}
        self.parts = self.path.with_name(self.path.name + ".parts")
        self._env_args = json.dumps(env_args, indent=4)
        self._layout: dict[str, tuple] | None = None
        self._sole = SoleWriter(self.path)
        try:
            self._take_up()
        except BaseException:
            self._sole.release()
            raise

    def _take_up(self) -> None:
        """Find what is there to be continued."""
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
        with hdf5.opened(path) as file:
            demo = hdf5.group(hdf5.group(file, "data"), name)
            return {key: hdf5.attribute(demo, key) for key in demo.attrs if key != "model_file"}

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
        self._sole.release()

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
            differing = differences(expected, found)
            listed = "; ".join(f"expected {key} {one!r}, found {other!r}" for key, (one, other) in differing.items())
            raise DatasetError(f"{path}: env_args: {listed}")
        with hdf5.opened(path) as file:
            demo = hdf5.group(hdf5.group(file, "data"), demo_names(path)[0])
            arrays = {name: hdf5.array(demo, name) for name in ("actions", "states", "rewards", "dones")}
            for part in {"obs", "next_obs"} & set(hdf5.names(demo)):
                holder = hdf5.group(demo, part)
                arrays |= {f"{part}/{key}": hdf5.array(holder, key) for key in hdf5.names(holder)}
            self._layout = {name: ((array.shape or ())[1:], array.dtype) for name, array in arrays.items()}


def differences(expected: Mapping, found: Mapping, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Entries of nested mappings that differ, with keys ``a/b/c``; None stands for a missing one."""
    differing: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*expected, *found}):
        one, other = expected.get(key), found.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            differing |= differences(one, other, f"{prefix}{key}/")
        elif one != other:
            differing[prefix + key] = one, other
    return differing


def _number(name: str) -> int:
    return int(name.removeprefix("demo_"))
