"""The low-dimensional part of a dict observation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FilterObservation

from l1flow_agents.errors import ConfigError


class StateObservation(FilterObservation):
    """Every key but the images (uint8 of three axes or more).

    The environment still draws what is dropped; one that can leave it out (``obs_type="state"`` here) is faster.

    Raises:
        ConfigError: the observation is no dict, or all of it is images.

    Example:
        >>> list(StateObservation(gym.make("PushT-v0", obs_type="image")).observation_space)
        ['agent_pos']
    """

    def __init__(self, env: gym.Env) -> None:
        keys = [key for key, space in dict_space(self, env).items() if not is_image(space)]
        if not keys:
            raise ConfigError(f"StateObservation: expected a key that is no image, got {list(dict_space(self, env))}")
        RecordConstructorArgs.__init__(self)
        super().__init__(env, keys)


def dict_space(wrapper: gym.Wrapper, env: gym.Env) -> spaces.Dict:
    """The environment's observation space, which must be a dict."""
    if not isinstance(env.observation_space, spaces.Dict):
        raise ConfigError(f"{type(wrapper).__name__}: expected a dict observation, got {env.observation_space}")
    return env.observation_space


def is_image(space: spaces.Space) -> bool:
    """uint8 (H, W, C), or a history of those."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) >= 3
