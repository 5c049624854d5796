"""A dict of low-dimensional observations as one vector."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from l1flow_agents.errors import ConfigError
from l1flow_agents.wrappers.state_observation import is_image


class FlattenState(gym.ObservationWrapper, RecordConstructorArgs):
    """Observations become one float32 box of one axis, for stable-baselines3's ``MlpPolicy`` and its like.

    Keys of a dict follow one another in alphabetical order. Spaces flatten by Gymnasium's rules (a discrete one becomes
    one-hot); unlike ``gymnasium.wrappers.FlattenObservation`` the result is float32 whatever the keys are, and images
    are refused rather than turned into thousands of numbers.

    Raises:
        ConfigError: a key is an image or cannot be flattened.

    Example:
        >>> FlattenState(gym.make("PushT-v0", obs_type="state")).observation_space.shape
        (5,)
    """

    def __init__(self, env: gym.Env) -> None:
        space = env.observation_space
        by_key = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
        if images := [key for key, part in by_key.items() if is_image(part)]:
            raise ConfigError(f"FlattenState: expected no images, got {images}; wrap in StateObservation first")
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        # rebuilt because a space made from pairs keeps their order
        self._ordered = spaces.Dict(dict(sorted(by_key.items()))) if isinstance(space, spaces.Dict) else space
        flat = spaces.flatten_space(self._ordered)
        if not isinstance(flat, spaces.Box):
            raise ConfigError(f"FlattenState: expected spaces of a fixed size, got {space}")
        self.observation_space = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        """Any observation of the environment -> (n,) float32."""
        return np.asarray(spaces.flatten(self._ordered, observation), np.float32)
