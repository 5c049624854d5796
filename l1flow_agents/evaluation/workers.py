"""Environments in processes of their own, which run whole chunks of actions. Nothing here imports torch.

Workers are those of `spawning`. No environment is built in the parent.
"""

from __future__ import annotations

import math
import signal
import time
import traceback
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from l1flow_agents.env_maker import EnvMaker
from l1flow_agents.errors import L1FlowError, WorkerError
from l1flow_agents.names import shown
from l1flow_agents.spawning import CONTEXT, unpacked
from l1flow_agents.video import draw_path


class EnvSetup(NamedTuple):
    """All that a worker needs to build its environment."""

    make: EnvMaker
    kwargs: dict[str, Any]
    """Of `make`."""
    n_obs_steps: int
    overlay: bool
    success_key: str


class Hello(NamedTuple):
    """A worker's first message."""

    observation_space: spaces.Space
    action_space: spaces.Space
    fps: float
    can_overlay: bool


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


def work(pipe: Connection, data: bytes) -> None:
    """The life of a worker process: build, say hello, then answer until told to stop or the parent is gone.

    ``data`` is an `EnvSetup`, packed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        setup: EnvSetup = unpacked(data)
        env = setup.make(**setup.kwargs)
        fps, can_overlay = env.metadata.get("render_fps", 20), hasattr(env.unwrapped, "action_to_pixel")
        pipe.send(Hello(env.observation_space, env.action_space, fps, can_overlay))
        runner = EpisodeRunner(env, setup.n_obs_steps, setup.overlay, setup.success_key)
        while (message := pipe.recv()) is not None:
            name, *arguments = message
            pipe.send(runner.reset(*arguments) if name == "reset" else runner.run(*arguments))
        env.close()
    except (EOFError, BrokenPipeError):
        return
    except WorkerError as error:
        pipe.send(WorkerFailure(str(error), of_all=True))
    except Exception as error:
        clear = isinstance(error, L1FlowError | gym.error.Error)  # one line says it all
        pipe.send(WorkerFailure(f"{type(error).__name__}: {error}", "" if clear else traceback.format_exc()))


class WorkerFailure(NamedTuple):
    """Why a worker can not go on."""

    reason: str
    details: str = ""
    of_all: bool = False
    """No episode can do better."""


class Worker:
    """The parent's end of one worker process; ``data`` is an `EnvSetup`, packed."""

    def __init__(self, data: bytes, timeout: float) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=work, args=(theirs, data), daemon=True, name="l1flow environment")
        self.process.start()
        theirs.close()
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout

    def send(self, *message: Any) -> None:
        """Ask for something; a dead worker is noticed at the next `receive`."""
        self.deadline = time.monotonic() + self.timeout
        with suppress(OSError):
            self.pipe.send(message)

    def receive(self) -> Any:
        """The next answer, or a `WorkerFailure`. Call when `ready` says so."""
        if not self.pipe.poll():
            self.stop()
            return WorkerFailure(f"the worker gave no answer in {self.timeout:.0f} s and was stopped")
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            return WorkerFailure(f"the worker died (exit code {self.process.exitcode})")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def finish(self) -> None:
        """Let the process close its environment, and end it if it does not."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(2)
        self.stop()


def ready(workers: list[Worker]) -> list[Worker]:
    """Those of ``workers`` that have an answer, have died or are overdue; waits until there is one."""
    while True:
        left = min(worker.deadline for worker in workers) - time.monotonic()
        answered = set(wait([worker.pipe for worker in workers], max(left, 0)))
        due = [worker for worker in workers if worker.pipe in answered or time.monotonic() > worker.deadline]
        if due:
            return due
