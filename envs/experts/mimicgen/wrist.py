"""Which way round a hand holds what it will turn."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.waypoints import turns


WRIST = (-1.9, 3.1)  # the hand's angles short of the ends of the wrist's last joint, and of half a turn from 0


def central_hand(yaw: float, goal: float) -> float:
    """The hand's angle across a body at ``yaw`` that will be turned to ``goal``: that farther from the limits.

    Half a turn of the hand holds the same. Far from the limits, a demonstration can also be moved to other scenes.
    """
    low, high = WRIST
    turn = (goal - yaw + np.pi) % (2 * np.pi) - np.pi

    def beside(hand: float) -> float:
        return max(abs(angle - (low + high) / 2) for angle in (hand, hand + turn))

    return float(min(turns(yaw + np.pi / 2, np.pi, low, high), key=beside))
