"""Demonstrations: one file a format, all read into `Episodes`.

Nothing is imported before it is used: a worker that only writes demonstrations never loads torch or Zarr.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import DatasetError
from l1flow_agents.lazy import lazily

if TYPE_CHECKING:
    from l1flow_agents.data.chunks import Chunks, ChunkSampler
    from l1flow_agents.data.normalizer import Normalizer
    from l1flow_agents.data.replay_zarr import read_replay_zarr
    from l1flow_agents.data.robomimic_hdf5 import read_robomimic_hdf5

__all__ = [
    "ChunkSampler",
    "Chunks",
    "Episodes",
    "Normalizer",
    "open_dataset",
    "read_replay_zarr",
    "read_robomimic_hdf5",
]

__getattr__ = lazily(
    __name__,
    {
        "ChunkSampler": f"{__name__}.chunks",
        "Chunks": f"{__name__}.chunks",
        "Normalizer": f"{__name__}.normalizer",
        "read_replay_zarr": f"{__name__}.replay_zarr",
        "read_robomimic_hdf5": f"{__name__}.robomimic_hdf5",
    },
)


def open_dataset(path: str | os.PathLike, keys: Iterable[str] | None = None, filter_key: str | None = None) -> Episodes:
    """Read the data set at ``path``, whatever its format.

    Args:
        keys: observation keys wanted, all by default. Leave out images that nobody needs.
        filter_key: only the demonstrations listed under ``mask/<filter_key>``; of robomimic files alone.

    Raises:
        DatasetError: missing, damaged, of a format that is not known, or without that filter key.
    """
    from l1flow_agents.data.robomimic_hdf5 import is_robomimic_hdf5, read_robomimic_hdf5

    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such data set")
    if is_robomimic_hdf5(path):
        return read_robomimic_hdf5(path, keys, filter_key)
    if filter_key is not None:
        raise DatasetError(
            f"{path}: expected a robomimic file for filter key {filter_key!r}, which no other format has"
        )

    from l1flow_agents.data.replay_zarr import is_replay_zarr, read_replay_zarr

    if is_replay_zarr(path):
        return read_replay_zarr(path, keys)
    raise DatasetError(
        f"{path}: unknown format; expected a replay-buffer Zarr folder with data/ and meta/, or a robomimic .hdf5 file"
    )
