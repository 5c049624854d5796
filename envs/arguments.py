"""Keyword arguments of environments, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from l1flow_agents.checks import checked_arguments
from l1flow_agents.errors import ConfigError, L1FlowError

OF_MAKE = ("max_episode_steps", "disable_env_checker")  # what `gym.make` keeps for itself


def checked_env_kwargs(spec: EnvSpec, env_kwargs: Mapping[str, Any], env_id: str) -> dict[str, Any]:
    """``env_kwargs`` held against the signatures of ``gym.make`` and of what ``spec`` is made by.

    Raises:
        ConfigError: a name that neither knows, a value of another kind, or an environment that cannot be imported.
    """
    kept = {name: value for name, value in env_kwargs.items() if name in OF_MAKE}
    own = {name: value for name, value in env_kwargs.items() if name not in OF_MAKE}
    if isinstance(spec.entry_point, str):
        try:
            creator = load_env_creator(spec.entry_point)
        except L1FlowError:
            raise
        except Exception as error:  # importing runs whatever the module does
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            raise ConfigError(f"{env_id} cannot be imported: {reason}") from error
        own = checked_arguments(creator, own, env_id)
    return {**checked_arguments(gym.make, kept, env_id, 1), **own}
