"""Checkpoints: a folder of ``config.yaml`` and ``model.safetensors``. Reading one executes nothing.

A folder is written under a temporary name, synced and renamed; a kill leaves the old one or the new one. A folder that
replaces another waits beside it for one rename as ``<name>.old``, and `find` looks there too.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save_file
from torch import Tensor, nn

from l1flow_agents import limits
from l1flow_agents.errors import CheckpointError, ConfigError
from l1flow_agents.files import sync
from l1flow_agents.names import nearest
from l1flow_agents.safe_yaml import UnreadableYaml, dump_yaml, quoted, read_yaml
from l1flow_agents.weights import check_fits, fill, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1flow_agents.agent import L1FlowAgent
    from l1flow_agents.policy import ChunkPolicy

FORMAT = 1
CONFIG, WEIGHTS, TRAINING = "config.yaml", "model.safetensors", "training.safetensors"
KEPT = 2  # newest training checkpoints of a run
BUNDLED = Path(str(files("l1flow_agents"))) / "bundled"
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
PARTS = {"agent": dict, "observation_space": dict, "action_space": dict, "env": dict, "weights_sha256": str}
OPTIONAL = {"bare_observation": bool, "training": dict, "score": dict, "teacher": dict}
KINDS = {dict: "a mapping", str: "text", bool: "true or false"}
BOX = ("shape", "dtype", "low", "high")
MOST_AXES = 8
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + [
    "float16",
    "float32",
    "float64",
    "bool",
]
RECORDED = ("l1flow-agents", "torch", "numpy", "gymnasium", "gym-pusht", "stable-baselines3")


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
    record = {"format": FORMAT, **config, "versions": versions(), "weights_sha256": sha256_of(folder / WEIGHTS)}
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
        raise CheckpointError(f"{folder}: not a checkpoint, {CONFIG} is missing") from None
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
    if not isinstance(env.get("id", 0), str | None) or not isinstance(env.get("kwargs"), dict):
        raise CheckpointError(f"{path}: expected env with an id and kwargs, found {quoted(env)}")
    if ":" in (env["id"] or ""):  # gym.make would import the module before the colon
        raise CheckpointError(f"{path}: expected the id of an environment, found {quoted(env['id'])}")
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


def find(name: str | os.PathLike[str]) -> Path:
    """The folder that a path, a bundled name or a Hugging Face Hub id ``owner/name`` stands for.

    Raises:
        CheckpointError: nothing of that name.
    """
    text = as_name(name)
    path = without_suffix(text)
    try:
        for candidate in [path, old_name(path)] if path.name else [path]:
            if candidate.is_dir():
                return candidate
        if str(path) in bundled_names():
            return BUNDLED / path
        if path.is_file() or Path(text).is_file():
            raise CheckpointError(f"{quoted(text)}: expected a checkpoint folder, found a file")
        # `runs/pusht` beside a folder `runs` is a path with a typo, not somebody's repository
        if HUB_ID.fullmatch(text) and not Path(text).parent.is_dir():
            return _from_hub(text)
    except OSError as error:  # too long for the file system, or in a folder that may not be looked into
        raise CheckpointError(f"{quoted(text)} cannot be looked for: {error.strerror}") from None
    hint = nearest(text, bundled_names())
    raise CheckpointError(f"no checkpoint folder {quoted(text)}; bundled agents are {bundled_names()}{hint}")


def as_name(name: object) -> str:
    """``name`` as text that can be looked for.

    Raises:
        CheckpointError: another kind of object, empty, or with a NUL.
    """
    try:
        text = os.fspath(name)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise CheckpointError(f"expected a folder, a bundled agent or a Hub id owner/name, got {quoted(name)}")
    return text


def bundled_names() -> list[str]:
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))


def bundled_for(env_id: str) -> list[str]:
    """Names of bundled agents trained for ``env_id``, those that need no picture first."""
    configs = {name: read_config(BUNDLED / name) for name in bundled_names()}
    fitting = [name for name, config in configs.items() if config["env"]["id"] == env_id]
    return sorted(fitting, key=lambda name: (configs[name]["env"]["kwargs"].get("obs_type") != "state", name))


def _from_hub(repo_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # late: slow to import, and only needed here

        return Path(snapshot_download(repo_id, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # the Hub's client raises many kinds; a name that cannot be had is one error here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{repo_id!r} is neither a folder nor a bundled agent {bundled_names()}, and the Hub answered: {reason}"
        ) from error


def versions() -> dict[str, str]:
    """Installed versions of what decides an agent's behaviour."""
    found = {}
    for package in RECORDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# ---- spaces as plain YAML -----------------------------------------------------------------------------------------


def space_to_dict(space: spaces.Box) -> dict[str, Any]:
    """Shape, dtype and bounds; a bound that is the same everywhere is one number."""

    def bound(array: np.ndarray) -> Any:
        return array.flat[0].item() if (array == array.flat[0]).all() else array.tolist()

    return {"shape": list(space.shape), "dtype": str(space.dtype), "low": bound(space.low), "high": bound(space.high)}


def spaces_from_dict(record: Mapping[str, Mapping[str, Any]]) -> dict[str, spaces.Box]:
    """The boxes that `space_to_dict` described, by key.

    Raises:
        ConfigError: no box, or more than a machine should be asked to hold.
    """
    if len(record) > limits.SPACE_KEYS:
        raise ConfigError(f"at most {limits.SPACE_KEYS} spaces, found {len(record)}")
    numbers = 0
    for key, box in record.items():
        if not isinstance(key, str) or not isinstance(box, Mapping) or not box.keys() >= {*BOX}:
            raise ConfigError(f"expected spaces by name with {BOX}, found {quoted({key: box})}")
        shape, dtype = box["shape"], box["dtype"]
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape) or len(shape) > MOST_AXES:
            raise ConfigError(
                f"space {quoted(key)}: expected up to {MOST_AXES} positive numbers, found {quoted(shape)}"
            )
        numbers += math.prod(shape)
        if numbers > limits.SPACE_NUMBERS:
            raise ConfigError(f"space {quoted(key)}: more than {limits.SPACE_NUMBERS} numbers with shape {shape}")
        if dtype not in DTYPES:
            raise ConfigError(f"space {quoted(key)}: expected a dtype of {DTYPES}, found {quoted(dtype)}")
    return {key: _box(box) for key, box in record.items()}


def _box(record: Mapping[str, Any]) -> spaces.Box:
    shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
    low, high = (np.broadcast_to(np.asarray(record[side], dtype), shape) for side in ("low", "high"))
    return spaces.Box(low, high, shape, dtype.type)


# ---- training runs ------------------------------------------------------------------------------------------------


def save_training(run_dir: Path, agent: L1FlowAgent, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write ``checkpoints/<step>``: the agent, and in ``training.safetensors`` all that the next step needs."""
    target = run_dir / "checkpoints" / f"{agent.num_timesteps:08d}"
    with replaced_folder(target) as folder:
        write_agent(folder, agent.config(), agent.policy)
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in _training_tensors(model, optimizer).items()
        }
        save_file(tensors, folder / TRAINING, {"step": str(agent.num_timesteps)})
    for outdated in _training_checkpoints(run_dir)[:-KEPT]:
        shutil.rmtree(outdated)


def resume(run_dir: Path, agent: L1FlowAgent, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint of ``run_dir`` and return the number of steps done; 0 where there is none.

    Raises:
        ConfigError: it was made with other settings or other data.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for leftover in (run_dir / "checkpoints").glob(".*"):  # a kill while saving
        shutil.rmtree(leftover)
    found = _training_checkpoints(run_dir)
    if not found:
        return 0
    folder = found[-1]
    config, wanted = read_config(folder), agent.config()
    for part in ("agent", "observation_space", "action_space", "teacher"):
        _check_same(run_dir, config.get(part, {}), wanted.get(part, {}))
    _check_same(run_dir, *({**record["training"], "steps_done": None} for record in (config, wanted)))
    check_weights(folder, config, agent.policy.kept_state())
    fill(folder / WEIGHTS, agent.policy.kept_state())
    for parameter in model.parameters():  # moments exist only after the first step; create them to be filled
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    fill(folder / TRAINING, _training_tensors(model, optimizer))
    return int(folder.name)


def _training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment, tensor in optimizer.state[parameter].items():
            tensors[f"optimizer.{moment}.{name}"] = tensor
    return tensors


def _training_checkpoints(run_dir: Path) -> list[Path]:
    return sorted(path for path in (run_dir / "checkpoints").glob("[0-9]*") if path.name.isdecimal())


def _check_same(run_dir: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in {**found, **wanted}:
        if found.get(name) != wanted.get(name):
            raise ConfigError(
                f"{run_dir} holds a run with {name} = {found.get(name)!r}, asked for {wanted.get(name)!r}; "
                "continue it with its own settings or choose another run directory"
            )


# ---- files --------------------------------------------------------------------------------------------------------


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A scratch folder that takes the place of ``path`` when the block ends well, and vanishes otherwise."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        scratch.chmod(0o755)
        yield scratch
        for file in scratch.iterdir():
            sync(file)
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


def without_suffix(path: str | os.PathLike) -> Path:
    """Callbacks of stable-baselines3 add ``.zip``; our checkpoints are folders."""
    path = Path(path)
    return path.with_suffix("") if path.suffix == ".zip" else path


def old_name(path: Path) -> Path:
    return path.with_name(path.name + ".old")
