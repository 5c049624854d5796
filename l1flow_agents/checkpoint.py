"""Checkpoints: a folder of ``config.yaml`` and ``model.safetensors``. Reading one executes nothing.

A folder is written under a temporary name, synced and renamed; a kill leaves the old one or the new one. A folder that
replaces another waits beside it for one rename as ``<name>.old``, and `find` looks there too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from l1flow_agents import limits, zoo
from l1flow_agents.errors import CheckpointError, ConfigError, TrainingError
from l1flow_agents.files import as_path, old_name, replaced_folder, text_of
from l1flow_agents.hub import HUB_ID, fetch_agent
from l1flow_agents.names import nearest
from l1flow_agents.safe_yaml import UnreadableYaml, dump_yaml, quoted, read_yaml
from l1flow_agents.versions import versions
from l1flow_agents.weights import check_fits, sha256_of

if TYPE_CHECKING:
    from l1flow_agents.policy import ChunkPolicy

FORMAT = 1
CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
# what examples/lerobot_policy_l1flow writes beside these, for LeRobot
LEROBOT = ("config.json", "policy_preprocessor.json", "policy_postprocessor.json")
REPLACEABLE = {CONFIG, WEIGHTS, "training.safetensors", "README.md", *LEROBOT}  # what lies in a checkpoint
FETCHED = {CONFIG: limits.YAML_BYTES, WEIGHTS: 4 * limits.WEIGHTS + limits.HEADER_BYTES}  # at most so many bytes
PARTS = {"agent": dict, "observation_space": dict, "action_space": dict, "env": dict, "weights_sha256": str}
OPTIONAL = {"bare_observation": bool, "training": dict, "score": dict, "teacher": dict, "versions": dict}
KINDS = {dict: "a mapping", str: "text", bool: "true or false"}


# ---- agents -------------------------------------------------------------------------------------------------------


def save_agent(path: Path, config: Mapping[str, Any], policy: ChunkPolicy, half: bool = False) -> None:
    """Write ``config`` and the weights of ``policy``; ``half`` stores weights in float16, statistics stay exact.

    Raises:
        CheckpointError: something that is no checkpoint is there, which saving would delete.
    """
    for place in (path, old_name(path.absolute())):
        check_replaceable(place)
    with replaced_folder(path) as folder:
        write_agent(folder, config, policy, half)


def check_replaceable(path: Path) -> None:
    """Raise CheckpointError unless nothing is at ``path``, or an empty folder, or a checkpoint and nothing else."""
    if not path.exists() and not path.is_symlink():
        return
    expected = f"{path}: expected a new name, an empty folder or a checkpoint to replace"
    if not path.is_dir():
        raise CheckpointError(f"{expected}, found a file")
    inside = sorted(one.name for one in path.iterdir())
    if foreign := [name for name in inside if name not in REPLACEABLE]:
        raise CheckpointError(f"{expected}, found a folder with {foreign[:3]}")
    if inside and CONFIG not in inside:
        raise CheckpointError(f"{expected}, found a folder with {inside}")


def write_agent(folder: Path, config: Mapping[str, Any], policy: ChunkPolicy, half: bool = False) -> None:
    """The files of a checkpoint.

    Raises:
        TrainingError: a weight is not finite. ConfigError: a setting cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in policy.kept_state().items()}
    if half:
        tensors = {name: t if name.startswith("normalizer.") else t.half() for name, t in tensors.items()}
    if broken := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise TrainingError(f"expected finite weights to save{' as float16' * half}, found inf or nan in {broken[0]}")
    save_file(tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors lets nobody else read it
    digest = sha256_of(folder / WEIGHTS)
    record = {"format": FORMAT, **config, "saved_with": versions(), "weights_sha256": digest}
    try:
        (folder / CONFIG).write_text(dump_yaml(record))
    except UnreadableYaml as error:
        raise ConfigError(f"a checkpoint cannot hold these settings: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.yaml`` of a checkpoint folder, with all of its parts."""
    path = folder / CONFIG
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a checkpoint, {CONFIG} is missing{inside(folder)}") from None
    except UnreadableYaml as error:
        raise CheckpointError(f"{path}: not readable as plain YAML ({error})") from None
    if not isinstance(config, dict) or "format" not in config:
        raise CheckpointError(f"{path}: expected a mapping with 'format', found another kind of file")
    if config["format"] != FORMAT:
        raise CheckpointError(f"{path}: format {quoted(config['format'])}, this version reads format {FORMAT}")
    if missing := PARTS.keys() - config.keys():
        raise CheckpointError(f"{path}: {sorted(missing)} missing")
    for part, kind in {**PARTS, **OPTIONAL}.items():
        if part in config and not isinstance(config[part], kind):
            raise CheckpointError(f"{path}: expected {part} as {KINDS[kind]}, found {quoted(config[part])}")
    env = config["env"]
    if not isinstance(env.get("id", 0), str | None) or not isinstance(env.get("kwargs", {}), dict):
        raise CheckpointError(f"{path}: expected env with an id and kwargs, found {quoted(env)}")
    if ":" in (env["id"] or ""):  # gym.make would import the module before the colon
        raise CheckpointError(f"{path}: expected the id of an environment, found {quoted(env['id'])}")
    for part in ("training", "teacher"):
        steps = config.get(part, {}).get("steps_done", 0)
        if type(steps) is not int or steps < 0:
            raise CheckpointError(f"{path}: expected {part}.steps_done as a whole number >= 0, found {quoted(steps)}")
    return translated(config)


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A record of format 1 in today's words; the one place where what older versions wrote is known.

    ``bf16`` of an encoder said how its training multiplied, which is ``precision`` of the training now.
    """
    encoder = config["agent"].get("encoder_kwargs")
    if isinstance(encoder, dict):
        encoder.pop("bf16", None)
    return config


def check_weights(folder: Path, config: Mapping[str, Any], outline: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the folder's weights are those of ``config`` and fit ``outline``'s names and shapes.

    ``outline`` may lie on torch's meta device: what does not fit costs neither a network nor the reading of a file.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise CheckpointError(f"{folder}: {WEIGHTS} is missing")
    check_fits(path, outline)
    if sha256_of(path) != config["weights_sha256"]:
        raise CheckpointError(f"{path}: SHA-256 differs from the one in {CONFIG}; truncated, altered or mixed files")


def find(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder that a path, a published name or a Hugging Face Hub id ``owner/name`` stands for.

    The Hub is asked last, and only for what cannot be a path: never where the part before the slash is a folder here.

    Args:
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: nothing of that name. DownloadError: a published agent could not be fetched.
    """
    text = as_name(name)
    path = without_suffix(text)
    try:
        for candidate in [path, old_name(path)] if path.name else [path]:
            if candidate.is_dir():
                if revision is not None:
                    raise CheckpointError(f"{quoted(text)} is a folder here; only what is on the Hub has a revision")
                return candidate
        is_file = path.is_file() or Path(text).is_file()
        # `runs/pusht` beside a folder `runs` is a path with a typo, not somebody's repository
        is_hub_id = bool(HUB_ID.fullmatch(text)) and not Path(text).parent.is_dir()
    except OSError as error:  # too long for the file system, or in a folder that may not be looked into
        raise CheckpointError(f"{quoted(text)} cannot be looked for: {error.strerror}") from None
    if (published := zoo.find(str(path))) is not None:
        return published
    if is_file:
        raise CheckpointError(f"{quoted(text)}: expected a checkpoint folder, found a file")
    if is_hub_id:
        return fetch_agent(text, revision, FETCHED)
    is_path = {"/", "\\", "~", "."} & set(text)
    hint = "" if is_path else nearest(text, [*zoo.names(), *zoo.config_names()])
    raise CheckpointError(f"no checkpoint folder {quoted(text)}; published agents are {zoo.names()}{hint}")


def inside(folder: Path) -> str:
    """``"; did you mean 'runs/lift/agent'?"`` where ``folder`` is that of a training; otherwise an empty string."""
    agent = folder / "agent"
    return f"; did you mean {str(agent)!r}?" if (agent / CONFIG).is_file() else ""


def as_name(name: object) -> str:
    """``name`` as text that can be looked for.

    Raises:
        CheckpointError: another kind of object, empty, or with a NUL.
    """
    text = text_of(name)
    if text is None:
        raise CheckpointError(f"expected a folder, a published agent or a Hub id owner/name, got {quoted(name)}")
    return text


# ---- files --------------------------------------------------------------------------------------------------------


def without_suffix(path: str | os.PathLike[str]) -> Path:
    """Callbacks of stable-baselines3 add ``.zip``; our checkpoints are folders."""
    path = as_path(path)
    return path.with_suffix("") if path.suffix == ".zip" else path
