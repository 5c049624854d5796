"""Which action takes effect at which tick: plans joined one after the other."""

from __future__ import annotations

import math

import numpy as np


class Schedule:
    """Actions by the tick at which they take effect, at most a plan's length of the past and of the future.

    Args:
        n_rows, action_dim: shape of a plan.
        ticks_per_row: 1 where a plan has a row a tick. A row's action is sent again until the next one's time, or left
            out if that comes before a tick.
    """

    def __init__(self, n_rows: int, action_dim: int, ticks_per_row: float = 1.0) -> None:
        self._n_rows, self._action_dim, self._ticks = n_rows, action_dim, ticks_per_row
        self._actions: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._actions)

    def join(self, plan: np.ndarray, first: float, now: int) -> int:
        """Go on with ``plan`` from tick ``now``; how many rows were late. Row 0 is for time ``first``, in ticks."""
        oldest = now - math.ceil(self._n_rows * self._ticks)
        self._actions = {tick: action for tick, action in self._actions.items() if oldest <= tick < now}
        for tick in range(max(now, math.ceil(first)), math.ceil(first + len(plan) * self._ticks - 1e-9)):
            self._actions[tick] = plan[min(int((tick - first) / self._ticks + 1e-9), len(plan) - 1)]
        return min(max(int((now - first) / self._ticks + 1e-9), 0), len(plan))

    def at(self, tick: int) -> np.ndarray | None:
        """The action for ``tick``; None where no plan reaches."""
        return self._actions.get(tick)

    def sent(self, tick: int, action: np.ndarray) -> None:
        """What was sent in the end, within the robot's limits."""
        self._actions[tick] = action

    def settled(self, first: float, until: int) -> tuple[np.ndarray, np.ndarray]:
        """What a plan from time ``first`` continues: actions (n_rows, action_dim), weights (n_rows,), float32.

        Those before tick ``until`` will be history when the plan comes: weight 1. Behind, the weights of real-time
        chunking (arXiv 2506.07339, eq. 5) fall to 0 where the present plan ends.
        """
        actions = np.zeros((self._n_rows, self._action_dim), np.float32)
        weights = np.zeros(self._n_rows, np.float32)
        ticks = [math.ceil(first + i * self._ticks - 1e-9) for i in range(self._n_rows)]
        known = [i for i, tick in enumerate(ticks) if tick in self._actions]
        end, frozen = (known[-1] + 1 if known else 0), sum(tick < until for tick in ticks)
        for i in known:
            actions[i] = self._actions[ticks[i]]
            weights[i] = 1 if i < frozen else _falling((end - i) / (end - frozen + 1))
        return actions, weights


def _falling(share: float) -> float:
    return share * math.expm1(share) / math.expm1(1)
