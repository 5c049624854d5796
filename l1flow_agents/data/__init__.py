"""Demonstrations: one file a format, all read into `Episodes`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from l1flow_agents.data.chunks import Chunks, ChunkSampler
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.normalizer import Normalizer
from l1flow_agents.data.replay_zarr import is_replay_zarr, read_replay_zarr
from l1flow_agents.data.robomimic_hdf5 import is_robomimic_hdf5, read_robomimic_hdf5
from l1flow_agents.errors import DatasetError

__all__ = [
    "ChunkSampler",
    "Chunks",
    "Episodes",
    "Normalizer",
    "open_dataset",
    "read_replay_zarr",
    "read_robomimic_hdf5",
]


def open_dataset(path: str | os.PathLike, keys: Iterable[str] | None = None) -> Episodes:
    """Read the data set at ``path``, whatever its format.

    Args:
        keys: observation keys wanted, all by default. Leave out images that nobody needs.

    Raises:
        DatasetError: missing, damaged, or of a format that is not known.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such data set")
    if is_replay_zarr(path):
        return read_replay_zarr(path, keys)
    if is_robomimic_hdf5(path):
        return read_robomimic_hdf5(path, keys)
    raise DatasetError(
        f"{path}: unknown format; expected a replay-buffer Zarr folder with data/ and meta/, or a robomimic .hdf5 file"
    )
