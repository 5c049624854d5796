"""Observation and action spaces: of an environment, of one observation, and as plain YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage
from torch import nn

from l1flow_agents import limits
from l1flow_agents.data.normalizer import ACTION, is_image
from l1flow_agents.envs import find_spec
from l1flow_agents.errors import CheckpointError, ConfigError, ObservationError
from l1flow_agents.safe_yaml import quoted

Env = gym.Env | VecEnv | VectorEnv
EnvOrSpaces = Env | str | tuple[spaces.Space, spaces.Space]
"""An environment, a vector of equal ones, an id for ``gymnasium.make``, or ``(observation_space, action_space)``."""
Observation = np.ndarray | Mapping[str, np.ndarray]
BARE = "observation"  # the key of an observation that is an array and no dict
BOX = ("shape", "dtype", "low", "high")
MOST_AXES = 8
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + [
    "float16",
    "float32",
    "float64",
    "bool",
]
FLOAT32_MAX = float(np.finfo(np.float32).max)


# ---- of an environment --------------------------------------------------------------------------------------------


def opened(env: EnvOrSpaces) -> Env | tuple[spaces.Space, spaces.Space]:
    """``env``, made if it is an id.

    Raises:
        gymnasium.error.Error: no such environment.
    """
    return gym.make(find_spec(env)) if isinstance(env, str) else env


def spaces_of(env: Env | tuple[spaces.Space, spaces.Space]) -> tuple[spaces.Box | spaces.Dict, spaces.Box]:
    """The checked spaces of an environment, of one in a vector, or of a pair.

    Raises:
        ConfigError: a space that no policy here can look at or act in.
    """
    while isinstance(env, VecTransposeImage):
        env = env.venv  # pictures as the environment gives them; `predict` takes both
    if isinstance(env, VectorEnv):
        pair: Any = (env.single_observation_space, env.single_action_space)
    else:
        pair = (env.observation_space, env.action_space) if isinstance(env, gym.Env | VecEnv) else env
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ConfigError(
            f"expected an environment or (observation_space, action_space), got {type(env).__name__} {env!r}"
        )
    observation_space, action_space = pair
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    if not parts or not all(isinstance(part, spaces.Box) for part in parts):
        raise ConfigError(f"expected observations that are a box or a dict of boxes, got {observation_space}")
    assert isinstance(observation_space, spaces.Box | spaces.Dict)
    if not (isinstance(action_space, spaces.Box) and len(action_space.shape) == 1):
        raise ConfigError(f"expected actions in a box of one axis, got {action_space}")
    for key, box in {**keyed_spaces(observation_space), "the action": action_space}.items():
        if key == ACTION or "." in key or hasattr(nn.ModuleDict(), key):
            raise ConfigError(f"observation key {key!r} is reserved or holds a dot; give it another name")
        if box.dtype.kind not in "fiu" or 0 in box.shape:
            raise ConfigError(f"{key!r}: expected a box of at least one whole or floating number, got {box!r}")
    return observation_space, action_space


def keyed_spaces(observation_space: spaces.Box | spaces.Dict) -> dict[str, spaces.Box]:
    """Boxes by key in alphabetical order, also for a bare box."""
    if isinstance(observation_space, spaces.Dict):
        return {key: box for key, box in sorted(observation_space.spaces.items()) if isinstance(box, spaces.Box)}
    return {BARE: observation_space}


def check_same_spaces(
    where: Path, boxes: Mapping[str, spaces.Box], actions: spaces.Box, env: Env | tuple[spaces.Space, spaces.Space]
) -> None:
    """Raise CheckpointError unless the environment offers what an agent needs: its keys ``boxes``, and its actions."""
    observation_space, action_space = spaces_of(env)
    offered = keyed_spaces(observation_space)
    for key, box in boxes.items():
        if key not in offered:
            raise CheckpointError(
                f"{where}: trained with observation {key!r} = {box}, but the environment offers only {[*offered]}"
            )
        if offered[key] != box:
            raise CheckpointError(f"{where}: trained with observation {key!r} = {box}, got {offered[key]}")
    if action_space != actions:
        raise CheckpointError(f"{where}: trained for actions {actions}, got {action_space}")


# ---- of an observation --------------------------------------------------------------------------------------------


def kept_dtype(box: spaces.Box) -> type[np.uint8] | type[np.float32]:
    """In which observations of ``box`` are kept: pictures as they are, every other number as the policy takes it."""
    return np.uint8 if is_image(box) else np.float32


def read_observation(
    observation: Observation, boxes: Mapping[str, spaces.Box]
) -> tuple[dict[str, np.ndarray], int, bool]:
    """Checked arrays (n, *shape) a key in alphabetical order, n, and whether it was a single observation.

    Raises:
        ObservationError: names key, expected and given shape or dtype, or a value that is not finite.
    """
    if isinstance(observation, tuple):
        raise ObservationError(
            "expected an observation, got a tuple; did you pass (observation, info), as reset returns?"
        )
    if not isinstance(observation, Mapping):
        if boxes.keys() != {BARE}:
            raise ObservationError(f"expected a dict with keys {list(boxes)}, got {type(observation).__name__}")
        observation = {BARE: observation}
    arrays, singles = {}, []
    for key, box in boxes.items():
        if key not in observation:
            raise ObservationError(
                f"key {key!r} is missing, expected {list(boxes)}, got {sorted(map(str, observation))}"
            )
        array, is_single = check_array(key, observation[key], box)
        arrays[key] = array[None] if is_single else array
        singles.append(is_single)
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ObservationError(f"expected the same number of rows for every key, got {lengths}")
    n = next(iter(lengths.values()))
    if n == 0:
        raise ObservationError("expected at least one observation, got an empty batch")
    return arrays, n, all(singles)


def check_array(key: str, value: Any, space: spaces.Box) -> tuple[np.ndarray, bool]:
    """``value`` as an array of `kept_dtype`, (*shape) or (n, *shape), and whether it is a single one."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unlike lengths, a tensor on another device
        raise ObservationError(f"key {key!r}: not an array of numbers ({' '.join(str(error).split())})") from None
    shape = space.shape
    if array.shape != shape and array.shape[1:] != shape and is_image(space):
        first = (shape[2], *shape[:2])  # SB3's VecTransposeImage
        if array.shape == first or array.shape[1:] == first:
            array = np.moveaxis(array, -3, -1)
    single = array.shape == shape
    if not single and (array.ndim != len(shape) + 1 or array.shape[1:] != shape):
        raise ObservationError(f"key {key!r}: expected shape {shape} or (n, {str(shape)[1:]}, got {array.shape}")
    if array.dtype != space.dtype and (is_image(space) or array.dtype.kind not in "fiu"):
        raise ObservationError(f"key {key!r}: expected dtype {space.dtype}, got {array.dtype}")
    if array.dtype.kind == "f" and not (fits := np.abs(array) <= FLOAT32_MAX).all():  # neither NaN nor infinite
        number = array[~fits].flat[0]
        beyond = " (float32 ends before)" if np.isfinite(number) else ""
        raise ObservationError(f"key {key!r}: expected finite numbers, got {number}{beyond}")
    return array.astype(kept_dtype(space), copy=False), single


# ---- as plain YAML ------------------------------------------------------------------------------------------------


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
    with np.errstate(over="ignore"):  # a bound beyond float32 is infinite
        low, high = (np.broadcast_to(np.asarray(record[side], dtype), shape) for side in ("low", "high"))
    return spaces.Box(low, high, shape, dtype.type)
