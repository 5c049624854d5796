"""Files and folders that are there whole or not at all: written under another name, synced and renamed.

And files that are read only if they are files, and only so far.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from filelock import FileLock, Timeout

from l1flow_agents.errors import ConfigError
from l1flow_agents.names import shown


def output_path(path: object, folder: bool = False) -> Path:
    """``path``, where a file or ``folder`` can be written: found out before the work whose result goes there.

    Raises:
        ConfigError: no path, a file in place of a folder or the reverse, or nothing can be written there.
    """
    what, other = ("a folder", "a file") if folder else ("a file", "a folder")
    output = as_path(path)
    try:
        if output.exists() and output.is_dir() != folder:
            raise ConfigError(f"{shown(str(path))}: expected the path of {what} to write, found {other}")
        place = output.absolute() if folder else output.absolute().parent
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):  # permissions do not tell: root may write anywhere but in /proc
            pass
    except OSError as error:
        raise ConfigError(f"{shown(str(path))}: {what} cannot be written there: {error.strerror}") from None
    return output


def as_path(path: object) -> Path:
    """``path`` as a Path; a ConfigError if it is none: another kind of object, empty, or with a NUL."""
    text = text_of(path)
    if text is None:
        raise ConfigError(f"expected a path, got {shown(path)}")
    return Path(text)


def text_of(path: object) -> str | None:
    """``path`` as text; None if it is no path: another kind of object, bytes, empty, or with a NUL."""
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        return None
    return text if isinstance(text, str) and text and "\0" not in text else None


def cache_folder() -> Path:
    """Where what can be made again is kept: ``$L1FLOW_CACHE`` or ``~/.cache/l1flow``."""
    return Path(os.environ.get("L1FLOW_CACHE") or "~/.cache/l1flow").expanduser()


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


class SoleWriter:
    """Held from its making to `release` by the one process that writes at ``path``, a file or a folder.

    It lives in the system's folder of temporary files, so that nothing is left beside what is written; a process that
    is killed lets go of it. Other machines that see the same disk are not kept out.

    Raises:
        ConfigError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        key = sha256(f"{Path.home()}\n{path.absolute()}".encode()).hexdigest()[:16]
        self._lock = FileLock(Path(tempfile.gettempdir()) / f"l1flow-{key}.lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ConfigError(f"{path}: another process is writing there; wait for it or choose another path") from None

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> SoleWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def old_name(path: Path) -> Path:
    return path.with_name(path.name + ".old")


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
