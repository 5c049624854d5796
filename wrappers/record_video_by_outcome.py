"""Videos of the episodes that succeed, or of those that fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from l1flow_agents.errors import ConfigError
from l1flow_agents.video import write_video
from l1flow_agents.wrappers.episode_recorder import EpisodeRecorder


class RecordVideoByOutcome(EpisodeRecorder):
    """Films every episode and keeps the film by its outcome.

    Files are ``episode_0003_success.mp4``, ``episode_0004_failure.mp4`` and so on, each under its name once it is
    complete. Episodes count from 0, or on from the films that are already there. The running episode's frames are held
    in memory (a 512 x 512 frame takes 0.8 MB).

    An episode succeeded if any of its steps said so; one that `reset` or `close` cuts short counts as it stands.

    Args:
        env: made with ``render_mode="rgb_array"``.
        folder: where films go; each environment of a vector needs its own.
        keep: ``all``, ``success`` or ``failure``.
        success_key: the entry of ``info`` that tells success.

    Raises:
        ConfigError: one of the above is not so, or ``info`` had no ``success_key`` in a whole episode.

    Example:
        >>> env = gym.make("PushT-v0", obs_type="state", render_mode="rgb_array")
        >>> env = RecordVideoByOutcome(env, "films", keep="failure")
    """

    def __init__(
        self, env: gym.Env, folder: str | os.PathLike, keep: str = "all", success_key: str = "is_success"
    ) -> None:
        if env.render_mode != "rgb_array":
            raise ConfigError(f"RecordVideoByOutcome: render_mode must be 'rgb_array', got {env.render_mode!r}")
        RecordConstructorArgs.__init__(self, folder=os.fspath(folder), keep=keep, success_key=success_key)
        super().__init__(env, keep, success_key)
        self.folder = Path(folder)
        films = self.folder.glob("episode_[0-9]*_*.mp4")
        self.episode = 1 + max((int(path.stem.split("_")[1]) for path in films), default=-1)
        self._frames: list[np.ndarray] = []

    def begin(self, observation: Any) -> None:
        self._frames = [self._frame()]

    def add(self, action: Any, observation: Any, reward: float, success: bool) -> None:
        self._frames.append(self._frame())

    def end(self, success: bool, kept: bool) -> None:
        frames, self._frames = self._frames, []
        name = f"episode_{self.episode:04d}"
        self.episode += 1
        if not kept:
            return
        if taken := next(self.folder.glob(f"{name}_*.mp4"), None):
            raise ConfigError(f"RecordVideoByOutcome: expected a folder for this environment alone, found {taken}")
        path = self.folder / f"{name}_{'success' if success else 'failure'}.mp4"
        write_video(path, frames, self.env.metadata.get("render_fps", 20))

    def _frame(self) -> np.ndarray:
        picture = self.env.render()
        if not isinstance(picture, np.ndarray):
            raise ConfigError(f"RecordVideoByOutcome: render() must return a picture, got {type(picture).__name__}")
        return picture
