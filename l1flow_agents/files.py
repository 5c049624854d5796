"""Files and folders that are there whole or not at all: written under another name, synced and renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


def sync(path: Path) -> None:
    """Wait until the file, or the folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """A file to write, with the suffix of ``path``, which takes its place when the block ends well.

    It lies beside ``path``, or in the folder ``scratch`` on the same disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (scratch or path.parent) / f".{path.stem}.{token_hex(4)}{path.suffix}"
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)  # the new name
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    A folder that it replaces waits beside it for one rename, as `old_name`.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        scratch.chmod(0o755)
        yield scratch
        for inside in scratch.rglob("*"):
            sync(inside)
        sync(scratch)
        if path.exists():
            shutil.rmtree(old_name(path), ignore_errors=True)
            os.rename(path, old_name(path))
        os.rename(scratch, path)
        shutil.rmtree(old_name(path), ignore_errors=True)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def old_name(path: Path) -> Path:
    return path.with_name(path.name + ".old")
