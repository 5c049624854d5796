"""The images of a dict observation."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FilterObservation

from l1flow_agents.errors import ConfigError
from l1flow_agents.wrappers.state_observation import dict_space, is_image


class ImageObservation(FilterObservation):
    """The images (uint8 of three axes or more) and nothing else, not even proprioception.

    Raises:
        ConfigError: the observation is no dict, or has no image.

    Example:
        >>> list(ImageObservation(gym.make("PushT-v0", obs_type="image")).observation_space)
        ['image']
    """

    def __init__(self, env: gym.Env) -> None:
        keys = [key for key, space in dict_space(self, env).items() if is_image(space)]
        if not keys:
            raise ConfigError(f"ImageObservation: expected a key that is an image, got {list(dict_space(self, env))}")
        RecordConstructorArgs.__init__(self)
        super().__init__(env, keys)
