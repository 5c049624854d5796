"""Limits on position, speed and jerk, kept by every action that is sent."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from l1flow_agents.errors import ConfigError

Position = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Limits:
    """Of the first p numbers of an action, which move something; the others (a gripper) are left as they are.

    Each is one number or (p,), in the robot's units (metres, radians) and seconds; infinity where there is none.

    Args:
        low, high: of the position.
        speed, jerk: the most of either sign.
        scale: None for actions that are positions; else how far an action of 1 goes.
        position: the measured position (p,) in an observation; needed with ``scale``.
    """

    low: np.ndarray | float
    high: np.ndarray | float
    speed: np.ndarray | float
    jerk: np.ndarray | float = np.inf
    scale: np.ndarray | None = None
    position: Position | None = None

    def __post_init__(self) -> None:
        if np.any(self.low > self.high) or np.any(np.less_equal(self.speed, 0)) or np.any(np.less_equal(self.jerk, 0)):
            raise ConfigError("limits: expected low <= high, speed > 0 and jerk > 0")
        if self.scale is not None and self.position is None:
            raise ConfigError("limits: actions that are steps need `position`, to know where they lead")


class Limiter:
    """Holds the actions of one episode to limits, at ``hz`` a second.

    The speed is cut, then what it gives is averaged twice over n actions. A speed that changes by 2 ``speed`` at most
    changes, so averaged, by no more than 4 ``speed`` (hz / n)^2 in its second difference: n follows from the jerk. No
    mean leaves the bounds that its terms have, so nothing overshoots; the price is a delay of n - 1 actions where the
    jerk's limit is narrow. For actions that are steps the measured position comes last, as it must hold whatever else
    does: at a wall the speed ends at once.
    """

    def __init__(self, limits: Limits, hz: float) -> None:
        self._limits, self._hz = limits, hz
        speed, jerk = np.broadcast_arrays(np.atleast_1d(limits.speed), limits.jerk)
        limited = np.isfinite(jerk)
        if np.isinf(speed[limited]).any():
            raise ConfigError("limits: a jerk's limit needs a speed's")
        actions = np.sqrt(4 * speed[limited] / jerk[limited]) * hz
        self._n = max(1, math.ceil(actions.max(initial=0) - 1e-9))
        self._size = np.broadcast(limits.low, limits.high, limits.speed, limits.jerk).size
        self._cut: np.ndarray | None = None  # the position before it is averaged
        self._averages = (_Average(self._n), _Average(self._n))

    def __call__(self, action: np.ndarray, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action (action_dim,) that is sent in place of ``action``; ``observation`` is the newest."""
        limits, most = self._limits, self._limits.speed / self._hz
        here = None if limits.position is None else np.asarray(limits.position(observation), np.float64)
        size = len(here) if here is not None else len(action) if self._size == 1 else self._size
        wanted = action[:size].astype(np.float64)
        if limits.scale is None:
            wanted = wanted.clip(limits.low, limits.high)
            if self._cut is None:
                self._cut = wanted if here is None else here.clip(limits.low, limits.high)
            before = self._cut
            self._cut = before + (wanted - before).clip(-most, most)
            sent = self._averaged(self._cut, first=before)
        else:
            assert here is not None
            step = self._averaged((wanted * limits.scale).clip(-most, most), first=np.zeros(size))
            sent = step.clip(np.minimum(limits.low - here, 0), np.maximum(limits.high - here, 0)) / limits.scale
        held: np.ndarray = np.concatenate([sent, action[size:]]).astype(action.dtype)
        return held

    def _averaged(self, value: np.ndarray, first: np.ndarray) -> np.ndarray:
        for average in self._averages:
            value = average(value, first)
        return value


class _Average:
    """The mean of the last n values, before which there was ``first`` for ever."""

    def __init__(self, n: int) -> None:
        self._values: deque[np.ndarray] = deque(maxlen=n)

    def __call__(self, value: np.ndarray, first: np.ndarray) -> np.ndarray:
        if not self._values:
            self._values.extend([first] * (self._values.maxlen or 1))
        self._values.append(value)
        mean: np.ndarray = np.mean(self._values, axis=0)
        return mean
