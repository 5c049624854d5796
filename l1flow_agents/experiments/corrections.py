"""The agent from which an expert takes over."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from l1flow_agents.agent import L1FlowAgent
from l1flow_agents.demonstrations.collection import Novice, Policy


def novice_of(path: str | os.PathLike) -> Novice:
    """For `collect`: the agent at ``path``, which each process loads; the noise of an episode is its seed's."""
    return partial(_loaded, os.fspath(path))


def _loaded(path: str, env: gym.Env) -> Callable[[int], Policy]:
    return partial(_acting, L1FlowAgent.load(path, env=env, device="cpu"))


def _acting(agent: L1FlowAgent, seed: int) -> Policy:
    state = agent.initial_state(1, np.array([seed]))

    def act(observation: Any) -> np.ndarray:
        nonlocal state
        action, state = agent.predict(observation, state)
        return action

    return act
