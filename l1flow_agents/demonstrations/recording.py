"""One episode, as a demonstration."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from l1flow_agents.demonstration import Demonstration
from l1flow_agents.wrappers import RecordRollouts


def make_env(env_id: str) -> gym.Env:
    """With state observations; building the simulator waits for the first reset."""
    return gym.make(env_id, obs_type="state")


def record_episode(
    env: gym.Env, policy: Callable[[dict[str, np.ndarray]], np.ndarray | None], seed: int
) -> Demonstration | None:
    """The episode from ``reset(seed=seed)`` in which ``policy`` acts; None where that failed.

    Args:
        policy: the action for an observation; None where it gives up.
    """
    kept: list[Demonstration] = []
    recorder = RecordRollouts(env, kept, keep="success")
    observation, _ = recorder.reset(seed=seed)
    ended = False
    while not ended and (action := policy(observation)) is not None:
        observation, _, terminated, truncated, _ = recorder.step(action)
        ended = terminated or truncated
    return kept[0] if kept else None
