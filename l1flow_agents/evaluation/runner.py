"""One environment, driven a chunk of actions at a time. Nothing here imports torch."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from l1flow_agents.errors import WorkerError
from l1flow_agents.names import shown
from l1flow_agents.video import draw_path


class Segment(NamedTuple):
    """What came of one chunk of actions, or of a reset."""

    history: dict[str, np.ndarray]  # (n_obs_steps, *shape) a key, oldest first
    rewards: list[float]
    success: bool | None
    """None: no info said."""
    ended: bool
    frames: list[np.ndarray]
    info_keys: list[str]
    """Of the last info, where none had the key of success."""
    seconds: float = 0.0
    """That it took, resets and building included."""


class EpisodeRunner:
    """One environment, driven a chunk at a time. Success is what ``info[success_key]`` says at any step."""

    def __init__(self, env: gym.Env, n_obs_steps: int, overlay: bool = False, success_key: str = "is_success") -> None:
        self.env, self.overlay, self.success_key = env, overlay, success_key
        self._history: deque[dict[str, np.ndarray]] = deque(maxlen=n_obs_steps)
        self._film = False

    def reset(self, seed: int, film: bool) -> Segment:
        observation, info = self.env.reset(seed=seed)
        self._film = film
        for _ in range(self._history.maxlen or 1):
            self._history.append(as_dict(observation))
        return self._segment([], self._told(info, None), False, [self.env.render()] if film else [], info)

    def run(self, actions: np.ndarray, plan: np.ndarray) -> Segment:
        """Execute ``actions`` (k, action_dim) until they or the episode end; ``plan`` is drawn where filmed."""
        rewards: list[float] = []
        frames: list[Any] = []
        success, ended = None, False
        for k, action in enumerate(actions):
            observation, reward, terminated, truncated, info = self.env.step(action)
            self._history.append(as_dict(observation))
            rewards.append(as_reward(reward))
            success = self._told(info, success)
            ended = bool(terminated or truncated)
            if self._film:
                frames.append(self._frame(plan[k + 1 :]))
            if ended:
                break
        return self._segment(rewards, success, ended, frames, info)

    def _told(self, info: dict[str, Any], before: bool | None) -> bool | None:
        if self.success_key not in info:
            return before
        return as_success(info[self.success_key], self.success_key) or bool(before)

    def _frame(self, rest_of_plan: np.ndarray) -> Any:
        frame = self.env.render()
        if self.overlay and len(rest_of_plan):
            frame = draw_path(frame, self.env.unwrapped.action_to_pixel(rest_of_plan))  # type: ignore[arg-type,attr-defined]
        return frame

    def _segment(
        self, rewards: list[float], success: bool | None, ended: bool, frames: list, info: dict[str, Any]
    ) -> Segment:
        history = {key: np.stack([observation[key] for observation in self._history]) for key in self._history[0]}
        info_keys = sorted(map(str, info)) if success is None else []
        return Segment(history, rewards, success, ended, frames, info_keys)


def as_dict(observation: Any) -> dict[str, np.ndarray]:
    """A bare array under the key by which an agent knows it."""
    return observation if isinstance(observation, dict) else {"observation": observation}


def as_success(value: Any, key: str) -> bool:
    """What an info tells: a bool, 0 or 1, or an array of one of them.

    Raises:
        WorkerError: anything else, which another episode would hold as well.
    """
    told = value
    with suppress(AttributeError, ValueError, RuntimeError):  # no array, or one of several
        told = value.item()
    if not (isinstance(told, bool | int | float) and told in (0, 1)):
        raise WorkerError(f"info[{key!r}] must tell success by true or false, got {shown(value)}")
    return bool(told)


def as_reward(value: Any) -> float:
    """A finite number, or a ValueError."""
    try:
        reward = float(value)
    except (TypeError, ValueError):
        reward = math.nan
    if not math.isfinite(reward):
        raise ValueError(f"a reward must be a finite number, got {shown(value)}")
    return reward
