"""One episode, as a demonstration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from l1flow_agents.demonstration import Demonstration
from l1flow_agents.envs import find_spec
from l1flow_agents.wrappers import RecordRollouts

GYM_TYPE = 2  # robomimic's number for an environment of Gymnasium


def make_env(env_id: str, extras: Sequence[str] = ()) -> gym.Env:
    """With state observations, where the environment has the choice; a simulator is built at the first reset.

    ``extras``: what its observation shows beyond the data sets' (see `RobosuiteEnv`).
    """
    creator: Any = find_spec(env_id).entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    kwargs: dict[str, Any] = {"obs_type": "state"} if "obs_type" in signature(creator).parameters else {}
    if extras:
        kwargs["extras"] = list(extras)
    return gym.make(env_id, **kwargs)


def env_args_of(env: gym.Env, env_id: str) -> dict[str, Any]:
    """robomimic's ``env_args``: the environment's own where it knows them, or how Gymnasium makes it."""
    own = getattr(env.unwrapped, "env_args", None)
    if own is not None:
        return dict(own())
    return {"env_name": env_id, "type": GYM_TYPE, "env_kwargs": env.spec.kwargs if env.spec else {}}


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
