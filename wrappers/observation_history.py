"""The last few observations as one."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import FrameStackObservation

from l1flow_agents.errors import ConfigError


class ObservationHistory(FrameStackObservation):
    """Observations gain a first axis: the newest ``n_obs_steps`` of them, oldest first.

    At reset the first observation fills the history, as in Diffusion Policy. Any space with a batched form will do:
    a box of shape (...) becomes (n_obs_steps, ...), a dict does so key by key. The environment must return new arrays,
    not write into old ones.

    Raises:
        ConfigError: ``n_obs_steps`` is below 1.

    Example:
        >>> ObservationHistory(gym.make("CartPole-v1"), n_obs_steps=2).observation_space.shape
        (2, 4)
    """

    def __init__(self, env: gym.Env, n_obs_steps: int = 2) -> None:
        if n_obs_steps < 1:
            raise ConfigError(f"ObservationHistory: n_obs_steps must be at least 1, got {n_obs_steps}")
        RecordConstructorArgs.__init__(self, n_obs_steps=n_obs_steps)
        super().__init__(env, stack_size=n_obs_steps)
