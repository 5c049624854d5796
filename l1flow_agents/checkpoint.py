"""Checkpoints: a folder of ``config.yaml`` and ``model.safetensors``. Reading one executes nothing.

A folder is written under a temporary name, synced and renamed; a kill leaves the old one or the new one. A folder that
replaces another waits beside it for one rename as ``<name>.old``, and `find` looks there too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from l1flow_agents import zoo
from l1flow_agents.errors import CheckpointError
from l1flow_agents.files import old_name, replaced_folder
from l1flow_agents.names import nearest
from l1flow_agents.provenance import versions

if TYPE_CHECKING:
    from l1flow_agents.policy import ChunkPolicy

FORMAT = 1
CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


# ---- agents -------------------------------------------------------------------------------------------------------


def save_agent(path: Path, config: Mapping[str, Any], policy: ChunkPolicy, half: bool = False) -> None:
    """Write ``config`` and the weights of ``policy``; ``half`` stores weights in float16, statistics stay exact."""
    with replaced_folder(path) as folder:
        write_agent(folder, config, policy, half)


def write_agent(folder: Path, config: Mapping[str, Any], policy: ChunkPolicy, half: bool = False) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in policy.kept_state().items()}
    if half:
        tensors = {name: t if name.startswith("normalizer.") else t.half() for name, t in tensors.items()}
    save_file(tensors, folder / WEIGHTS)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    record = {"format": FORMAT, **config, "saved_with": versions(), "weights_sha256": digest}
    (folder / CONFIG).write_text(yaml.safe_dump(record, sort_keys=False, width=120))


def read_config(folder: Path) -> dict[str, Any]:
    """The checked ``config.yaml`` of a checkpoint folder."""
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a checkpoint, {CONFIG} is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not readable as plain YAML ({reason})") from error
    if not isinstance(config, dict) or "format" not in config:
        raise CheckpointError(f"{path}: expected a mapping with 'format', found another kind of file")
    if config["format"] != FORMAT:
        raise CheckpointError(f"{path}: format {config['format']!r}, this version reads format {FORMAT}")
    expected = {"agent", "observation_space", "action_space", "env", "weights_sha256"}
    if missing := expected - config.keys():
        raise CheckpointError(f"{path}: {sorted(missing)} missing")
    return translated(config)


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A record of format 1 in today's words; the one place where what older versions wrote is known.

    ``bf16`` of an encoder said how its training multiplied, which is ``precision`` of the training now.
    """
    agent = config["agent"]
    if isinstance(agent, dict) and isinstance(agent.get("encoder_kwargs"), dict):
        agent["encoder_kwargs"].pop("bf16", None)
    return config


def load_weights(folder: Path, config: Mapping[str, Any], policy: ChunkPolicy) -> None:
    """Fill ``policy`` from the folder's weights; every name and shape must agree."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder}: {WEIGHTS} is missing")
    if hashlib.sha256(path.read_bytes()).hexdigest() != config["weights_sha256"]:
        raise CheckpointError(f"{path}: SHA-256 differs from the one in {CONFIG}; truncated, altered or mixed files")
    load_strictly(path, policy.kept_state(), read_tensors(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error


def load_strictly(path: Path, target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copy ``source`` into ``target`` in place."""
    if target.keys() != source.keys():
        missing, unknown = sorted(target.keys() - source.keys()), sorted(source.keys() - target.keys())
        raise CheckpointError(f"{path}: weights do not fit the network; missing {missing[:3]}, unknown {unknown[:3]}")
    for name, tensor in source.items():
        if tensor.shape != target[name].shape:
            raise CheckpointError(
                f"{path}: {name!r} has shape {tuple(tensor.shape)}, expected {tuple(target[name].shape)}"
            )
    with torch.no_grad():
        for name, tensor in source.items():
            target[name].copy_(tensor)


def find(name: str | os.PathLike) -> Path:
    """The folder that a path, a published name or a Hugging Face Hub id ``owner/name`` stands for.

    Raises:
        CheckpointError: nothing of that name. DownloadError: a published agent could not be fetched.
    """
    path = without_suffix(name)
    for candidate in (path, old_name(path)):
        if candidate.is_dir():
            return candidate
    if (published := zoo.find(str(path))) is not None:
        return published
    if path.is_file() or Path(name).is_file():
        raise CheckpointError(f"{name}: expected a checkpoint folder, found a file")
    # `runs/pusht` beside a folder `runs` is a path with a typo, not somebody's repository
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)) and not Path(name).parent.is_dir():
        return _from_hub(str(name))
    hint = nearest(str(name), zoo.names())
    raise CheckpointError(f"no checkpoint folder {str(name)!r}; published agents are {zoo.names()}{hint}")


def _from_hub(repo_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # late: slow to import, and only needed here

        return Path(snapshot_download(repo_id, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the Hub's client raises many kinds; a name that cannot be had is one error here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{repo_id!r} is neither a folder nor a published agent {zoo.names()}, and the Hub answered: {reason}"
        ) from error


# ---- files --------------------------------------------------------------------------------------------------------


def without_suffix(path: str | os.PathLike) -> Path:
    """Callbacks of stable-baselines3 add ``.zip``; our checkpoints are folders."""
    path = Path(path)
    return path.with_suffix("") if path.suffix == ".zip" else path
