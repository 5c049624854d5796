"""The environment that an experiment names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from l1flow_agents.envs import find_spec
from l1flow_agents.envs.arguments import checked_env_kwargs
from l1flow_agents.errors import ConfigError, L1FlowError
from l1flow_agents.names import shown


def make_env(env_id: str, env_kwargs: Mapping[str, Any]) -> gym.Env:
    """``gym.make``, with the arguments held against the environment's own signature first.

    Raises:
        gymnasium.error.Error: no such environment. ConfigError: arguments that it does not take or cannot be made with.
    """
    spec = find_spec(env_id)
    try:
        return gym.make(spec, **checked_env_kwargs(spec, env_kwargs, env_id))
    except (L1FlowError, gym.error.Error):
        raise
    except Exception as error:  # a foreign constructor may raise anything about what it was handed
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise ConfigError(f"{env_id} cannot be made with {shown(dict(env_kwargs))}: {reason}") from error
