"""HammerCleanup and MugCleanup: open the drawer, put the thing in, shut it.

The hand opens and shuts the drawer with its fingers spread: one finger behind the handle's bar pulls it, the back of
the same finger pushes it. Nothing need be gripped, and the hand never has to wait for its fingers.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import CLOSED, OPEN, UP, Arm, Plan, Pose, WaypointExpert, downward, yaw_of

BAR = np.array([0.0, -0.17, 0.116])  # the handle's bar in the cabinet, when shut
INSIDE = np.array([0.0, -0.03, 0.044])  # on the tray's floor, a little nearer to its front than the middle, when shut
PULL = 0.15  # metres to open
HOOK = np.array([0.0, -0.02, -0.005])  # from the bar to a hand whose finger is behind it
PRESS = np.array([0.0, -0.085, -0.005])  # to one that is in front of it
CLEAR = 0.15  # what is higher in the cabinet's frame clears the tray's front


class DrawerExpert(WaypointExpert):
    """A task's class sees ``drawer`` and ``thing``, both with their turn, and says how the thing is held."""

    speeds, noise = (0.6, 0.9), 0.05
    drawer: np.ndarray
    drawer_rotation: Rotation
    thing: np.ndarray  # the middle of what the fingers close upon
    thing_rotation: Rotation
    foot: float  # from there down to its bottom
    drop: float  # height from which it is let go

    def draw(self) -> None:
        self.pulled = 0.0

    @abstractmethod
    def grasp(self) -> Pose:
        """The hand's pose to grasp the thing."""

    @abstractmethod
    def hand_yaw(self) -> float:
        """The hand's angle at the drawer when it puts the thing down."""

    def plan(self, arm: Arm) -> Plan:
        if not self.pulled and not (yield from self.pull(arm)):
            return False
        if not self.inside():
            if not (yield from arm.pick(self.grasp, slope=1.5, hover=0.08)):
                return False
            yaw = self.hand_yaw()

            def put(height: float) -> Pose:
                """Hand pose for the thing to be so high over the tray; sideways only as far as it has been lifted."""
                goal = self.at(INSIDE - [0, self.pulled, 0]) + (self.foot + height) * UP
                way = goal - self.thing
                lifted = np.clip((self.thing[2] - self.foot - self.drawer[2] - CLEAR + 0.1) / 0.1, 0, 1)
                return arm.position + way * [lifted, lifted, 1], downward(yaw)

            def lost() -> bool:
                return bool(np.linalg.norm(arm.position - self.thing) > 0.05)

            high = CLEAR - INSIDE[2]
            if not (
                yield from arm.place(
                    lambda: put(high), lambda: put(self.drop), bend=0, aim=(0.02, 0.2), fit=(0.01, 0.2), steps=40, lost=lost
                )
            ):
                return False
        return (yield from self.push(arm))

    def pull(self, arm: Arm) -> Plan:
        yield from arm.move(self.bar(HOOK + 0.06 * UP), OPEN, tolerance=0.02)
        if not (yield from arm.move(self.bar(HOOK), OPEN, tolerance=0.008)):
            return False
        yield from arm.move(self.bar(HOOK - [0, PULL + 0.01, 0]), OPEN, tolerance=0.02)
        self.pulled = PULL
        return (yield from arm.rise(0.12, OPEN))

    def push(self, arm: Arm) -> Plan:
        away = PRESS - [0, self.pulled, 0]
        yield from arm.move(self.bar(away + 0.06 * UP), OPEN, tolerance=0.03)
        yield from arm.move(self.bar(away), OPEN, tolerance=0.015)
        return (yield from arm.move(self.bar(PRESS + [0, 0.06, 0]), OPEN))

    def bar(self, offset: np.ndarray) -> Pose:
        """The hand's pose so far from where the bar is when shut."""
        pose = self.at(BAR + offset), downward(yaw_of(self.drawer_rotation))
        return lambda: pose

    def at(self, place: np.ndarray) -> np.ndarray:
        """In the world, from the cabinet's frame."""
        return self.drawer + self.drawer_rotation.apply(place)

    def inside(self) -> bool:
        place = self.drawer_rotation.inv().apply(self.thing - self.drawer) - INSIDE + [0, self.pulled, 0]
        return bool(np.all(np.abs(place) < [0.06, 0.07, 0.05]))
