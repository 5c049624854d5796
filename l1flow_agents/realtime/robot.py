"""What the control loop works with: a robot, a planner and a clock."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from gymnasium import spaces

from l1flow_agents.realtime.limits import Limits
from l1flow_agents.realtime.wire import Request, Spec


@dataclass(frozen=True)
class Reading:
    """What a robot's sensors showed at one time."""

    observation: Mapping[str, np.ndarray]
    """(*shape) a key, as the agent's observation space has them."""
    time: float
    """When it was so (not when it came), seconds on the loop's clock."""
    done: bool = False
    """Whether the robot says that the task is done; a simulated one does."""


class Robot(Protocol):
    """A robot for `run`. No method but `connect` may wait: the loop has a beat to keep.

    Attributes:
        observation_space: what `observe` shows. action_space: what `act` takes.
        action_delay: seconds from `act` until the robot moves by it, as measured; actions are sent that much earlier.
        limits: what actions are held to before they reach `act`; None for none.
    """

    observation_space: spaces.Dict
    action_space: spaces.Box
    action_delay: float
    limits: Limits | None

    def connect(self) -> None:
        """Be ready for `act`: motors on, cameras running, at the start of an episode."""

    def observe(self) -> Reading | None:
        """The newest reading, None before the first. Called every few milliseconds.

        Raises:
            RobotError: a part of the robot is gone; the loop then stops it.
        """

    def act(self, action: np.ndarray) -> None:
        """Take the action (action_dim,), within space and limits. Without a next one, hold the position."""

    def stop(self) -> None:
        """Stand still at once and ignore actions until `connect`; from any state, and more than once."""


class Planner(Protocol):
    """Makes one plan at a time while the loop goes on; `run` asks it. Neither method waits.

    Attributes:
        spec: what its plans are made from.
    """

    spec: Spec

    def submit(self, request: Request) -> None:
        """Begin a plan. What was begun before and is not there yet is forgotten."""

    def poll(self) -> np.ndarray | None:
        """The plan (n_rows, action_dim) that was begun last, once; None before it is there.

        Raises:
            RobotError: who plans is gone, or could not.
        """


class Clock(Protocol):
    """Where the loop has its time from."""

    def now(self) -> float:
        """Seconds."""

    def sleep(self, until: float) -> None:
        """Return at that time; at once if it has passed."""


class WallClock:
    """The machine's monotonic clock, which all its processes share."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, until: float) -> None:
        if (left := until - time.monotonic()) > 0:
            time.sleep(left)


class VirtualClock:
    """Time that passes only by sleeping: the same on a busy machine, and as fast as it can compute."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, until: float) -> None:
        self._now = max(self._now, until)


def ask_for_priority() -> None:
    """Let this process run before all others where it may, as a loop that drives a robot should; processes it starts
    do not inherit it.
    """
    with suppress(AttributeError, OSError):  # another system, or an ordinary user
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
