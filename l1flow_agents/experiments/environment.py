"""The environment that an experiment names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from l1flow_agents.checks import checked_arguments
from l1flow_agents.envs import find_spec
from l1flow_agents.errors import ConfigError, L1FlowError
from l1flow_agents.names import shown

OF_MAKE = ("max_episode_steps", "disable_env_checker")  # what `gym.make` keeps for itself


def make_env(env_id: str, env_kwargs: Mapping[str, Any]) -> gym.Env:
    """``gym.make``, with the arguments held against the environment's own signature first.

    Raises:
        gymnasium.error.Error: no such environment. ConfigError: arguments that it does not take or cannot be made with.
    """
    spec = find_spec(env_id)
    own = {name: value for name, value in env_kwargs.items() if name not in OF_MAKE}
    kept = {name: value for name, value in env_kwargs.items() if name in OF_MAKE}
    try:
        if isinstance(spec.entry_point, str):
            own = checked_arguments(load_env_creator(spec.entry_point), own, env_id)
        return gym.make(spec, **checked_arguments(gym.make, kept, env_id, 1), **own)
    except (L1FlowError, gym.error.Error):
        raise
    except Exception as error:  # a foreign constructor may raise anything about what it was handed
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise ConfigError(f"{env_id} cannot be made with {shown(dict(env_kwargs))}: {reason}") from error
