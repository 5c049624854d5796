"""What film and data recorders share: when an episode begins, how it ends, and whether it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from l1flow_agents.errors import ConfigError

KEEP = ("all", "success", "failure")


class EpisodeRecorder(gym.Wrapper, RecordConstructorArgs, ABC):
    """Base of wrappers that record whole episodes and keep them by outcome.

    An episode succeeded if any of its steps said so. It is over when the environment ends it, or else at the next
    `reset` or `close`; a reset without a step after it is no episode.
    """

    def __init__(self, env: gym.Env, keep: str, success_key: str) -> None:
        if keep not in KEEP:
            raise ConfigError(f"{type(self).__name__}: keep must be one of {KEEP}, got {keep!r}")
        gym.Wrapper.__init__(self, env)
        self.keep, self.success_key = keep, success_key
        self._recording = False  # a step was made
        self._success: bool | None = None  # None: nothing said so far

    @abstractmethod
    def begin(self, observation: Any) -> None:
        """The environment was reset."""

    @abstractmethod
    def add(self, action: Any, observation: Any, reward: float, success: bool) -> None:
        """A step was made; ``success`` is what it said itself."""

    @abstractmethod
    def end(self, success: bool, kept: bool) -> None:
        """The episode is over, at least one step long."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._end()
        observation, info = self.env.reset(seed=seed, options=options)
        self.begin(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._recording = True
        if self.success_key in info:
            self._success = bool(self._success or info[self.success_key])
        self.add(action, observation, float(reward), bool(info.get(self.success_key, False)))
        if terminated or truncated:
            self._end()
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        try:
            self._end()
        finally:
            super().close()

    def _end(self) -> None:
        recording, success = self._recording, self._success
        self._recording, self._success = False, None
        if not recording:
            return
        if success is None:
            raise ConfigError(f"{type(self).__name__}: expected {self.success_key!r} in info, an episode had none")
        self.end(success, kept=self.keep in ("all", "success" if success else "failure"))
