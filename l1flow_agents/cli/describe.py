"""What ``l1flow info`` says of an installation, an agent or a data set."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from l1flow_agents import checkpoint, zoo
from l1flow_agents.card import CARD
from l1flow_agents.data.download import PUBLISHED, data_dir, locate
from l1flow_agents.data.formats import FORMATS, describe_dataset, find_format
from l1flow_agents.envs import ENVS
from l1flow_agents.errors import DatasetError
from l1flow_agents.experiments import config_names
from l1flow_agents.methods import METHODS
from l1flow_agents.networks import NETWORKS
from l1flow_agents.versions import versions


def describe(name: str | None = None) -> dict[str, Any]:
    """Plain values about ``name``: a data set, an agent, or for None this installation."""
    if name is None:
        return installation()
    try:
        Path(checkpoint.as_name(name)).exists()
    except OSError:  # a name too long for the file system, say
        checkpoint.find(name)  # says so in one line
    if name in PUBLISHED or Path(name).suffix in (".zarr", ".hdf5", ".h5") or find_format(name):
        return describe_dataset(locate(name))
    if Path(name).exists() and not (Path(name) / checkpoint.CONFIG).exists():
        known = ", ".join(one.name for one in FORMATS.usable())
        hint = checkpoint.inside(Path(name))
        raise DatasetError(f"{name}: neither a data set ({known}) nor a checkpoint folder{hint}")
    folder = checkpoint.find(name)
    config = checkpoint.read_config(folder)
    card = folder / CARD
    return {"folder": str(folder), **({"card": str(card)} if card.exists() else {}), **config}


def installation() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cores": os.cpu_count(),
        "environments": sorted(ENVS),
        "agents": zoo.names(),
        "configurations": config_names(),
        "methods": sorted(METHODS),
        "networks": sorted(NETWORKS),
        "data": str(data_dir()),
    }
