"""What ``l1flow info`` says of an installation, an agent or a data set."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from l1flow_agents import checkpoint
from l1flow_agents.data import open_dataset
from l1flow_agents.data.download import PUBLISHED, data_dir, locate
from l1flow_agents.envs import ENVS
from l1flow_agents.experiments.run import config_names
from l1flow_agents.methods import METHODS
from l1flow_agents.networks import NETWORKS
from l1flow_agents.provenance import versions


def describe(name: str | None = None) -> dict[str, Any]:
    """Plain values about ``name``: a data set, an agent, or for None this installation."""
    if name is None:
        return installation()
    if name in PUBLISHED or Path(name).suffix == ".zarr":
        return dataset(name)
    folder = checkpoint.find(name)
    config = checkpoint.read_config(folder)
    return {"folder": str(folder), **config}


def installation() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cores": os.cpu_count(),
        "environments": sorted(ENVS),
        "agents": checkpoint.bundled_names(),
        "configurations": config_names(),
        "methods": sorted(METHODS),
        "networks": sorted(NETWORKS),
        "data": str(data_dir()),
    }


def dataset(name: str) -> dict[str, Any]:
    episodes = open_dataset(locate(name))
    lengths = [int(b - a) for a, b in zip([0, *episodes.ends[:-1]], episodes.ends, strict=True)]
    return {
        "source": episodes.source,
        "episodes": len(episodes),
        "steps": episodes.n_steps,
        "lengths": {"shortest": min(lengths), "longest": max(lengths)},
        "action": {"shape": list(episodes.actions.shape[1:]), "dtype": str(episodes.actions.dtype)},
        "observations": {
            key: {"shape": list(array.shape[1:]), "dtype": str(array.dtype)}
            for key, array in episodes.observations.items()
        },
        "fingerprint": episodes.fingerprint,
    }
