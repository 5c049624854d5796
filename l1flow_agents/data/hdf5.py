"""HDF5 files that may be damaged, in use or hostile: opened, walked and read.

Only plain (hard) links and arrays stored in the file itself are followed. What points elsewhere could read any file of
the user's, and a virtual data set that points to itself ends the process inside the HDF5 library. h5py's low-level
calls are used where there is one call for each of many demonstrations: they take a fifth of the time.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5s

from l1flow_agents.data.bounds import check_chunk, check_declared
from l1flow_agents.errors import DatasetError

NUMBERS = "fiub"  # numpy's kinds


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; whatever h5py raises inside becomes a DatasetError."""
    if not path.is_file():
        raise DatasetError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except Exception as error:  # h5py raises many kinds; the readers promise one
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES, errno.EPERM):
            in_use = error.errno == errno.EAGAIN
            reason = "in use: another process has it open for writing" if in_use else "no permission to read it"
            raise DatasetError(f"{path}: {reason}") from error
        raise DatasetError(f"{path}: the file is damaged, truncated or not HDF5 ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class Array(NamedTuple):
    """An array of a file, not read yet."""

    parent: h5py.Group
    key: str
    id: h5d.DatasetID
    shape: tuple[int, ...] | None
    """None: it holds nothing, not even an empty array."""
    dtype: np.dtype

    @property
    def place(self) -> str:
        return place(self.parent, self.key)

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape or ()) * self.dtype.itemsize

    def values(self, kinds: str = NUMBERS) -> np.ndarray:
        """All values; check their size before.

        Raises:
            DatasetError: damaged, or not of numpy's ``kinds``.
        """
        if self.dtype.kind not in kinds or self.shape is None:
            what = "nothing" if self.shape is None else f"values of type {self.dtype}"
            raise DatasetError(f"{self.place}: expected numbers, found {what}")
        try:
            if self.dtype.kind == "O":  # text of any length, which h5py's upper level converts
                return np.asarray(h5py.Dataset(self.id)[()])
            buffer = np.empty(self.shape, self.dtype)
            self.id.read(h5s.ALL, h5s.ALL, buffer)
        except Exception as error:
            raise DatasetError(f"{self.place} is damaged ({one_line(error)})") from error
        return buffer


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """The group ``name`` of ``parent``.

    Raises:
        DatasetError: missing, no group, or a link that leads elsewhere.
    """
    return h5py.Group(_child(parent, name, h5g.open, "group"))


def array(parent: h5py.Group, name: str) -> Array:
    """The array ``name`` of ``parent``, not read yet.

    Raises:
        DatasetError: missing, no array, a link that leads elsewhere, or its values lie elsewhere.
    """
    opened = _child(parent, name, h5d.open, "dataset")
    stored, dtype = opened.get_create_plist(), opened.dtype
    layout = stored.get_layout()
    if layout == h5d.VIRTUAL or stored.get_external_count():
        raise DatasetError(f"{place(parent, name)} is put together from other arrays or files; copy the values into it")
    if layout == h5d.CHUNKED:
        check_chunk(place(parent, name), math.prod(stored.get_chunk()) * dtype.itemsize)
    return Array(parent, name, opened, opened.shape, dtype)


def _child(parent: h5py.Group, name: str, opening: Any, kind: str) -> Any:
    key = name.encode(errors="surrogateescape")
    try:
        if parent.id.links.get_info(key).type == h5l.TYPE_HARD:
            return opening(parent.id, key)
    except Exception as error:
        if isinstance(error, KeyError | ValueError | TypeError) or not parent.id.links.exists(key):
            found = sorted(names(parent))[:20]
            raise DatasetError(f"{place(parent, name)} is missing or not a {kind}, found {found}") from None
        raise DatasetError(f"{place(parent, name)} is damaged ({one_line(error)})") from error
    raise DatasetError(f"{place(parent, name)} is a link to somewhere else; only what the file itself holds is read")


def place(parent: h5py.Group, name: str) -> str:
    """``file.hdf5: key '/data/demo_0/actions'``, for messages."""
    return f"{parent.file.filename}: key '{(parent.name or '').rstrip('/')}/{name}'"


def names(parent: h5py.Group) -> Iterator[str]:
    """What ``parent`` holds. A name that is not UTF-8 comes with surrogates and will not be found."""
    return (key.decode(errors="surrogateescape") for key in parent.id)


def below(parent: h5py.Group, prefix: str = "", depth: int = 8) -> Iterator[tuple[h5py.Group, str, str]]:
    """All arrays below ``parent``: their group, name and path. Deeper than ``depth`` nobody puts any."""
    for name in sorted(names(parent)):
        try:
            inner = group(parent, name)
        except DatasetError:
            yield parent, name, prefix + name
            continue
        if not depth:
            raise DatasetError(f"{place(parent, name)}: expected fewer groups inside each other")
        yield from below(inner, f"{prefix}{name}/", depth - 1)


def check_sizes(file: h5py.File, arrays: Iterable[Array]) -> None:
    """Refuse arrays that declare more than the file could hold, together."""
    declared = sum(one.n_bytes for one in arrays)
    check_declared(f"{file.filename}: key '/data'", declared, Path(file.filename).stat().st_size)


def attribute(holder: h5py.Group, name: str) -> Any:
    """The attribute ``name``; None where there is none.

    Raises:
        DatasetError: damaged, or larger than the file.
    """
    key = name.encode()
    if not h5a.exists(holder.id, key):
        return None
    opened = h5a.open(holder.id, key)
    if opened.get_storage_size() > Path(holder.file.filename).stat().st_size:
        raise DatasetError(f"{place(holder, '')}: attribute {name!r} is larger than the file")
    try:
        found = holder.attrs[name]
    except Exception as error:
        raise DatasetError(f"{place(holder, '')}: attribute {name!r} is damaged ({one_line(error)})") from error
    return found.decode(errors="replace") if isinstance(found, bytes) else found  # old files hold bytes


def whole_number(holder: h5py.Group, name: str) -> int | None:
    """The attribute ``name`` of a demonstration, of which there may be many; None where it is no number."""
    key = name.encode()
    if not h5a.exists(holder.id, key):
        return None
    opened = h5a.open(holder.id, key)
    number = np.empty((), np.int64)
    try:
        if opened.get_storage_size() <= number.nbytes:
            opened.read(number)
            return int(number)
    except Exception:  # a text, or several numbers
        pass
    return None
