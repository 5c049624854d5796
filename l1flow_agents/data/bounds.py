"""What a data set may ask of the machine: files only declare sizes, which are checked before anything is allocated."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from l1flow_agents.errors import DatasetError

LARGEST_CHUNK = 1 << 29  # bytes that are unpacked in one piece; the largest of published data sets have a tenth
PACKED = 1100  # bytes that one byte of deflate can stand for (1032), and a little
SLACK = 1 << 24  # bytes that a file may declare and not hold: arrays that were never written read as zeros


def check_memory(what: str, n_bytes: int) -> None:
    """Refuse arrays of more than half of the machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if n_bytes > memory // 2:
        raise DatasetError(f"{what}: {size(n_bytes)} to be held in memory, expected at most half of {size(memory)}")


def check_disk(what: str, n_bytes: int, folder: Path) -> None:
    """Refuse images that do not fit on the disk of ``folder``, which exists."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise DatasetError(f"{what}: {size(n_bytes)} of images to be cached in {folder}, which has {size(free)} left")


def check_declared(what: str, declared: int, stored: int) -> None:
    """Refuse what is larger than the stored bytes could be unpacked to."""
    if declared > PACKED * stored + SLACK:
        raise DatasetError(f"{what} declares {size(declared)}, which the {size(stored)} that it has cannot hold")


def check_chunk(what: str, n_bytes: int) -> None:
    """Refuse chunks that can only be unpacked as a whole, and are too large for it."""
    if n_bytes > LARGEST_CHUNK:
        raise DatasetError(f"{what}: chunks of {size(n_bytes)}, expected at most {size(LARGEST_CHUNK)}")


def size(n_bytes: int) -> str:
    """``3.2 MB``; whole bytes below a thousand."""
    number, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.3g} {units[0]}"
