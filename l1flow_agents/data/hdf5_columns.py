"""Arrays of which an HDF5 file holds a piece an episode: each is checked before it is read, pictures later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from l1flow_agents.data import hdf5
from l1flow_agents.data.bounds import check_declared, check_memory
from l1flow_agents.data.image_cache import placeholder
from l1flow_agents.errors import DatasetError


class Columns:
    """Gathers the arrays of one demonstration after the other, each checked before it is read."""

    def __init__(self, file: h5py.File) -> None:
        self.images: dict[str, list[str]] = {}
        self._file, self._stored, self._declared = file.filename, Path(file.filename).stat().st_size, 0
        self._layout: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._rows: dict[str, int] = {}
        self._values: dict[str, list[np.ndarray]] = {}

    def add(self, key: str, array: hdf5.Array, length: int) -> None:
        """The demonstration's array of ``key``, which must agree with the others in shape, and in being uint8."""
        shape, dtype = array.shape, array.dtype
        wanted, like = self._layout.setdefault(key, ((shape or ())[1:], dtype))
        expected = (length, *wanted)
        if shape != expected or (dtype == np.uint8) != (like == np.uint8) or dtype.kind not in hdf5.NUMBERS:
            kind = like if like.kind in hdf5.NUMBERS else "numbers"
            raise DatasetError(f"{array.place}: expected {kind} {expected}, found {dtype} {shape}")
        self._declared += array.n_bytes
        check_declared(self._file, self._declared, self._stored)
        self._rows[key] = self._rows.get(key, 0) + length
        if dtype == np.uint8 and len(shape) == 4:
            self.images.setdefault(key, []).append(f"{array.parent.name}/{array.key}")
        else:
            check_memory(self._file, self._declared)
            values = array.values()
            self._values.setdefault(key, []).append(values if dtype == np.uint8 else values.astype(np.float32))

    def joined(self, key: str) -> np.ndarray:
        """All rows of ``key``; a placeholder for images."""
        if key in self.images:
            return placeholder((self._rows[key], *self._layout[key][0]))
        return np.concatenate(self._values.pop(key))


def blocks(path: Path, names: list[str]) -> Iterator[np.ndarray]:
    """The arrays ``names`` one by one; the file is open only while somebody reads."""
    with hdf5.opened(path) as file:
        for name in names:
            *groups, last = name.strip("/").split("/")
            parent: h5py.Group = file
            for one in groups:
                parent = hdf5.group(parent, one)
            yield hdf5.array(parent, last).values()
