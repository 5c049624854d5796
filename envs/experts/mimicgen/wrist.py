"""Which way round a hand holds what it will turn."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import turns


def central_hand(yaw: float, goal: float, wrist: tuple[float, float] = WRIST) -> float:
    """The hand's angle across a body at ``yaw`` that will be turned to ``goal``: that farther from the limits.

    Half a turn of the hand holds the same. Far from the limits, a demonstration can also be moved to other scenes.
    """
    low, high = wrist
    turn = (goal - yaw + np.pi) % (2 * np.pi) - np.pi

    def beside(hand: float) -> float:
        return max(abs(angle - (low + high) / 2) for angle in (hand, hand + turn))

    return float(min(turns(yaw + np.pi / 2, np.pi, low, high), key=beside))
