"""Environments that misbehave or count, made by id as ``envs_for_tests:Name-v0``, also in spawned workers."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counter(gym.Env):
    """Observes (seed of the episode, steps so far); ends after ``length`` steps; goes wrong in that of ``bad_seed``.

    ``success_key`` is what ``info`` calls success, and with ``failures_told=False`` only where there is one; ``told``
    is what it holds instead of true. ``how="nan"`` goes wrong by a reward that is no number.

    The start value is what ``reset(seed=)`` gave, or 1000 more than the last one where no seed is given.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    observation_space = spaces.Dict({"count": spaces.Box(-1, np.inf, (2,), np.float32)})
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(
        self,
        length: int = 5,
        bad_seed: int = -1,
        how: str = "",
        render_mode: str | None = None,
        success_key: str = "is_success",
        failures_told: bool = True,
        told: Any = True,
    ) -> None:
        if how == "build":
            raise RuntimeError("no such scene")
        self.length, self.bad_seed, self.how, self.render_mode = length, bad_seed, how, render_mode
        self.success_key, self.failures_told, self.told = success_key, failures_told, told
        self.start = self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.start + 1000 if seed is None else seed
        self.steps = 0
        return self.observe(), self.info(False)

    def step(self, action):
        self.steps += 1
        if self.start == self.bad_seed and self.steps == 3:
            if self.how == "nan":
                return self.observe(), np.nan, False, False, {}
            self.misbehave()
        done = self.steps >= self.length
        return self.observe(), float(action[0]), done, False, self.info(done and self.start % 2 == 0)

    def info(self, success: bool) -> dict:
        told = {self.success_key: self.told if success else False}
        return {"steps": self.steps} | (told if success or self.failures_told else {})

    def misbehave(self) -> None:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            print(os.getpid(), flush=True)  # for whoever waits for it to hang
            time.sleep(60)
        raise RuntimeError("the gripper fell off")

    def observe(self):
        return {"count": np.array([self.start, self.steps], np.float32)}

    def render(self):
        frame = np.full((40, 52, 3), 255, np.uint8)
        frame[: self.steps * 4] = (0, 0, 200)
        return frame


class Doubled(gym.ActionWrapper):
    """A wrapper that takes no arguments and does not say so."""

    def action(self, action):
        return np.float32(2) * action


gym.register("Counter-v0", entry_point="envs_for_tests:Counter")
