"""Demonstrations: one file a format, all read into `Episodes`.

Nothing is imported before it is used: a worker that only writes demonstrations never loads torch or Zarr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import FORMATS, Format, open_dataset
from l1flow_agents.lazy import lazily

if TYPE_CHECKING:
    from l1flow_agents.data.chunks import Chunks, ChunkSampler
    from l1flow_agents.data.normalizer import Normalizer
    from l1flow_agents.data.replay_zarr import read_replay_zarr
    from l1flow_agents.data.robomimic_hdf5 import read_robomimic_hdf5

__all__ = [
    "FORMATS",
    "ChunkSampler",
    "Chunks",
    "Episodes",
    "Format",
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
