"""What makes a file safe on disk, and safe to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def sync(path: Path) -> None:
    """Wait until the file, or the folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The file for reading, links followed; it never blocks, as opening a pipe would.

    Raises:
        OSError: nothing is there, or it is a folder, a device, a pipe or a socket.
    """
    try:
        kind = os.stat(path).st_mode  # first of all: merely to open some devices makes them act
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)) if stat.S_ISREG(kind) else -1
    except ValueError as error:  # a NUL in the name
        raise FileNotFoundError(f"{error}: {os.fspath(path)!a}") from None
    if descriptor < 0:
        raise OSError("expected a regular file, found a folder, device, pipe or socket")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """All of a regular file, which may have ``max_bytes`` at most.

    Raises:
        OSError: as of `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)  # whatever size it claims to have
    if content is None:
        raise OSError("nothing can be read from it")  # some in /proc would have to be waited for
    if len(content) > max_bytes:
        raise OSError(f"larger than {max_bytes} bytes")
    return content
