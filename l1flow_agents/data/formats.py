"""The formats of data sets: one entry each in `FORMATS`, by which everything that takes a data set knows it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import DatasetError
from l1flow_agents.registry import Registry

log = logging.getLogger("l1flow_agents")


@dataclass(frozen=True)
class Format:
    """How to recognise, read and describe the data sets of one format.

    Args:
        name: for people.
        detect: whether the file or folder is of this format; cheap, and raises nothing.
        read: the episodes at a path, with these observation keys (None: all), and, where the format has filter keys,
            of one of them. Raises DatasetError with one line that names path and reason.
        describe: plain values for ``l1flow info``: ``format``, what `Episodes.summary` says, and what is special.
        filter_keys: whether ``read`` takes a ``filter_key``.
    """

    name: str
    detect: Callable[[Path], bool]
    read: Callable[..., Episodes]
    describe: Callable[[Path], dict[str, Any]]
    filter_keys: bool = False


FORMATS: Registry[Format] = Registry(
    "data format",
    "l1flow_agents.formats",
    {
        "replay-zarr": "l1flow_agents.data.replay_zarr:FORMAT",
        "robomimic-hdf5": "l1flow_agents.data.robomimic_hdf5:FORMAT",
        "minari": "l1flow_agents.data.minari:FORMAT",
        "lerobot": "l1flow_agents.data.lerobot:FORMAT",  # also has folders data and meta: asked before the Zarr
    },
    Format,
)
"""What `open_dataset` and ``l1flow info`` know; the last is asked first, so those that other packages add."""


def find_format(path: str | os.PathLike) -> Format | None:
    """The format of what is at ``path``; None where it is of none that is known."""
    return next((one for one in FORMATS.usable() if _detects(one, Path(path))), None)


def _detects(one: Format, path: Path) -> bool:
    try:
        return one.detect(path)
    except (Exception, SystemExit) as error:  # whatever a foreign format raises
        _blame(one.name, " ".join(f"{type(error).__name__}: {error}".split()))
        return False


@cache  # one line, however often a format is asked
def _blame(name: str, reason: str) -> None:
    log.warning("left out: data format %r cannot tell what is its own (%s)", name, reason)


def open_dataset(path: str | os.PathLike, keys: Iterable[str] | None = None, filter_key: str | None = None) -> Episodes:
    """Read the data set at ``path``, whatever its format.

    Args:
        keys: observation keys wanted, all by default. Leave out images that nobody needs.
        filter_key: only the episodes under this name, in formats that have such: robomimic's ``mask/<filter_key>``, a
            split or a task of LeRobot's.

    Raises:
        DatasetError: missing, damaged, of a format that is not known, or without that filter key.
    """
    found = _format_of(Path(path))
    if filter_key is None:
        return found.read(path, keys)
    if not found.filter_keys:
        raise DatasetError(f"{path}: {found.name} has no filter keys, got {filter_key!r}")
    return found.read(path, keys, filter_key)


def describe_dataset(path: str | os.PathLike) -> dict[str, Any]:
    """What is at ``path``, as plain values; pictures are not read.

    Raises:
        DatasetError: as `open_dataset`.
    """
    return _format_of(Path(path)).describe(Path(path))


def _format_of(path: Path) -> Format:
    if not path.exists():
        raise DatasetError(f"{path}: no such data set")
    if (found := find_format(path)) is None:
        names = [one.name for one in FORMATS.usable()]
        raise DatasetError(f"{path}: unknown format; expected one of {', '.join(names)}")
    return found
