"""Which way round a hand holds what it will turn, and how it leans."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import turns

ROBOT = np.array([-0.56, 0.0])  # where it stands


def central_hand(yaw: float, goal: float, wrist: tuple[float, float] = WRIST) -> float:
    """The hand's angle across a body at ``yaw`` that will be turned to ``goal``: that farther from the limits.

    Half a turn of the hand holds the same. Far from the limits, a demonstration can also be moved to other scenes.
    """
    low, high = wrist
    turn = (goal - yaw + np.pi) % (2 * np.pi) - np.pi

    def beside(hand: float) -> float:
        return max(abs(angle - (low + high) / 2) for angle in (hand, hand + turn))

    return float(min(turns(yaw + np.pi / 2, np.pi, low, high), key=beside))


def reaching(*places: np.ndarray) -> float:
    """The hand's tilt for all of the places, radians.

    Fingers forwards where one is far out, since an arm that straightens does not come back; but not where one is near,
    since there it would bring the wrist's two turning axes into one line.
    """
    near, *_, far = sorted(float(np.hypot(*(place[:2] - ROBOT))) for place in places)
    return float(0.35 * np.clip(min((far - 0.7) / 0.1, (near - 0.35) / 0.2), 0, 1))
