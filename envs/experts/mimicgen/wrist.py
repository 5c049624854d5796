"""Which way round a hand holds what it will turn."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import turns


def nearest_hand(yaw: float, goal: float) -> float:
    """The hand's angle across a body at ``yaw`` that will be turned to ``goal``: that with the least turning.

    Half a turn of the hand holds the same; one whose wrist can do both is better than one that cannot.
    """
    low, high = WRIST
    turn = (goal - yaw + np.pi) % (2 * np.pi) - np.pi

    def cost(hand: float) -> float:
        return abs(hand) + abs(hand + turn) + 9.0 * (not low < hand + turn < high)

    return float(min(turns(yaw + np.pi / 2, np.pi, low, high), key=cost))
