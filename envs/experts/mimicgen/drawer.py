"""HammerCleanup and MugCleanup: open the drawer, put the thing in, shut it.

The hand opens and shuts the drawer with its fingers spread: one finger behind the handle's bar pulls it, the back of
the same finger pushes it. Nothing need be gripped, and the hand never has to wait for its fingers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import OPEN, UP, Arm, Plan, Pose, WaypointExpert, downward, yaw_of

BAR = np.array([0.0, -0.17, 0.116])  # the handle's bar in the cabinet, when shut
INSIDE = np.array([0.0, -0.03, 0.044])  # on the tray's floor, a little nearer to its front than the middle, when shut
PULL = 0.15  # metres to open
HOOK = np.array([0.0, -0.02, -0.005])  # from the bar to a hand whose finger is behind it
PRESS = np.array([0.0, -0.085, -0.005])  # to one that is in front of it
CLEAR = 0.16  # what is higher in the cabinet's frame clears the tray's front


class DrawerExpert(WaypointExpert):
    """A task's class sees where drawer and thing are, and says how the thing is held."""

    speeds, noise = (0.6, 0.9), 0.05
    drawer: np.ndarray
    drawer_rotation: Rotation
    thing: np.ndarray  # the middle of what the fingers close upon
    foot: float  # from there down to its bottom
    drop: float  # height from which it is let go

    def draw(self) -> None:
        self.pulled = 0.0

    @abstractmethod
    def hold(self) -> float:
        """The hand's angle to grasp the thing as it lies now."""

    def lay(self, held: float) -> float:
        """The hand's angle over the tray."""
        return held

    def plan(self, arm: Arm) -> Plan:
        if not self.pulled and not (yield from self.pull(arm)):
            return False
        if not self.inside() and not (yield from self.put(arm)):
            return False
        return (yield from self.push(arm))

    def pull(self, arm: Arm) -> Plan:
        yield from arm.move(self.bar(HOOK + 0.06 * UP), OPEN, tolerance=0.02)
        if not (yield from arm.move(self.bar(HOOK), OPEN, tolerance=0.008)):
            return False
        yield from arm.move(self.bar(HOOK - [0, PULL + 0.01, 0]), OPEN, tolerance=0.02)
        self.pulled = PULL
        return (yield from arm.rise(0.18, OPEN))

    def put(self, arm: Arm) -> Plan:
        held = self.hold()
        if not (yield from arm.pick(lambda: (self.thing, downward(held)), slope=4.0, hover=0.08)):
            return False
        start, yaw = self.thing.copy(), self.lay(held)

        def over(height: float, across: float) -> Pose:
            """Hand pose for the thing to be so high over the tray; ``across``: the part of the way to there."""
            goal = self.at(INSIDE - [0, self.pulled, 0]) + (self.foot + height) * UP
            way = start + (goal - start) * [across, across, 1] - self.thing
            return arm.position + way, downward(held + across * (yaw - held))

        def high() -> Pose:
            """Sideways only as far as it has been lifted."""
            lifted = self.thing[2] - self.foot - self.drawer[2] - CLEAR
            return over(CLEAR - INSIDE[2], np.clip((lifted + 0.07) / 0.05, 0, 1))

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - self.thing) > 0.05)

        how: Any = {"aim": (0.02, 0.2), "fit": (0.012, 0.2), "steps": 40}
        return (yield from arm.place(high, lambda: over(self.drop, 1.0), bend=0, lost=lost, **how))

    def push(self, arm: Arm) -> Plan:
        away = PRESS - [0, self.pulled, 0]
        yield from arm.move(self.bar(away + 0.06 * UP), OPEN, tolerance=0.03)
        yield from arm.move(self.bar(away), OPEN, tolerance=0.015)
        return (yield from arm.move(self.bar(PRESS - [0, -0.06, 0]), OPEN))

    def bar(self, offset: np.ndarray) -> Callable[[], Pose]:
        """The hand's pose so far from where the bar is when shut."""
        pose = self.at(BAR + offset), downward(yaw_of(self.drawer_rotation))
        return lambda: pose

    def at(self, place: np.ndarray) -> np.ndarray:
        """In the world, from the cabinet's frame."""
        return np.asarray(self.drawer + self.drawer_rotation.apply(place))

    def inside(self) -> bool:
        place = self.drawer_rotation.inv().apply(self.thing - self.drawer) - INSIDE + [0, self.pulled, 0]
        return bool(np.all(np.abs(place) < [0.06, 0.07, 0.05]))
