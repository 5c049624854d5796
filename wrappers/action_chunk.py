"""Whole chunks of actions as one action."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector.utils import batch_space

from l1flow_agents.errors import ConfigError


class ActionChunk(gym.Wrapper, RecordConstructorArgs):
    """An action is a chunk, (n_action_steps, *action_shape); its actions are executed in order, open loop.

    A step returns what the last executed action returned, with the rewards summed. It stops where the episode ends;
    ``info["n_executed"]`` is the number of actions that were executed.

    Wrappers that must see every simulator step (`ObservationHistory`, a recorder) go inside, below this one.

    Raises:
        ConfigError: ``n_action_steps`` is below 1, the action space has no shape, or (in ``step``) a chunk has another
            shape than the action space.

    Example:
        >>> ActionChunk(gym.make("Pendulum-v1"), n_action_steps=8).action_space.shape
        (8, 1)
    """

    def __init__(self, env: gym.Env, n_action_steps: int = 8) -> None:
        if n_action_steps < 1:
            raise ConfigError(f"ActionChunk: n_action_steps must be at least 1, got {n_action_steps}")
        if env.action_space.shape is None:
            raise ConfigError(f"ActionChunk: expected an action space with a shape, got {env.action_space}")
        RecordConstructorArgs.__init__(self, n_action_steps=n_action_steps)
        super().__init__(env)
        self.action_space = batch_space(env.action_space, n_action_steps)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if np.shape(action) != self.action_space.shape:
            raise ConfigError(
                f"ActionChunk: expected a chunk of shape {self.action_space.shape}, got {np.shape(action)}"
            )
        rewards: list[float] = []
        for one in action:
            observation, reward, terminated, truncated, info = self.env.step(one)
            rewards.append(float(reward))
            if terminated or truncated:
                break
        return observation, sum(rewards), terminated, truncated, {**info, "n_executed": len(rewards)}
