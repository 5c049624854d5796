"""Transport: hand the hammer over from the covered bin to the target bin, which is cleared of trash meanwhile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    OPEN,
    RISE,
    UP,
    Arm,
    Plan,
    Pose,
    WaypointExpert,
    body_of,
    downward,
    turns,
    yaw_of,
)
from l1flow_agents.layouts import LAYOUTS

AHEAD = np.pi / 2  # robot 0 looks along y, robot 1 against it
RIM = 0.955  # top of the bins' walls
OVER = RIM + 0.04  # an empty hand passes over the walls
SLOPE = 3.0  # of the funnels: metres up for each metre astray sideways
LID, TRASH, HANDLE = 0.0235, 0.0425, 0.034  # metres between fingers that hold it, and a little more
START = np.array([0.2, -0.45])  # middle of robot 0's bin, give or take 5 mm
LID_PLACE = np.array([-0.15, -0.38, 0.825])  # of its handle, on the table beside the bin
MEETING = np.array([0.0, 0.0, 1.04])  # where both arms reach the hammer
READY = np.array([0.0, 0.2, 1.12])  # robot 1's hand until the hammer comes
HOME = np.array([0.0, -0.1, 1.2])  # robot 0's when it has let go
# Where the two grip the handle, whose head is far from robot 0 or near it: not far from the head's weight, or it sags.
ENDS_FAR, ENDS_NEAR = (0.0, 0.085), (-0.045, 0.075)
# A hand near its base leans, fingers inwards: pointing straight down its forearm would stand upright, too, and two of
# the wrist's axes fall together.
LEAN = 0.3


class Order(NamedTuple):
    """What an arm does next."""

    goal: Pose
    gripper: float
    speed: float = 1.0
    bend: float = 0.0


class TransportExpert(WaypointExpert):
    """Robot 0 uncovers its bin and holds the hammer out by one end; robot 1 clears its bin and takes the other end.

    Each order follows from the newest observation alone, so that a pupil who sees just that can learn it.
    """

    layout = LAYOUTS["Transport-v0"]
    arm_names = ("robot0", "robot1")
    speeds = (1.0, 1.0)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.hammer, self.hammer_rotation = body_of(objects, "payload")
        trash = body_of(objects, "trash")
        self.trash, self.trash_yaw = trash.position, trash.yaw
        self.lid, self.target_bin, self.trash_bin = (
            objects[f"{name}_pos"] for name in ("lid_handle", "target_bin", "trash_bin")
        )
        along = self.hammer_rotation.apply(UP)
        self.along = along if along[1] > 0 else -along  # the handle, towards robot 1; the head may be at either end
        self.ends = ENDS_FAR if along[1] > 0 else ENDS_NEAR
        self.heading = float(np.arctan2(self.along[1], self.along[0]))
        self.middles = [START, LID_PLACE[:2], self.target_bin[:2], self.trash_bin[:2]]

    def plan(self, arm: Arm) -> Plan:
        order = self.give(arm) if arm is self.arms[0] else self.take(arm)
        yield arm.action(*order)
        return True

    def give(self, arm: Arm) -> Order:
        """Robot 0."""
        lid = self.lid - 0.002 * UP, leaning(arm, AHEAD)
        has_lid = arm.error(lid)[0] < 0.04
        if self.lid[0] > -0.05 or (has_lid and self.lid[2] > LID_PLACE[2] + 0.03):
            if has_lid and arm.width < LID:
                return self.carry(arm, self.lid, LID_PLACE, lid[1], RIM + 0.08, bend=-0.3)
            return self.seize(arm, lid, LID, bend=0.4)
        if has_lid and arm.width < LID + 0.01:
            return Order((arm.position + (LID_PLACE - self.lid)[2] * UP, lid[1]), OPEN)
        taken = self.holds(self.arms[1])
        if self.holds(arm) and not taken:
            return self.carry(arm, self.hammer, MEETING, self.ahead(arm), MEETING[2])
        if self.hammer[1] < -0.25 and not taken:
            return self.seize(arm, self.grasp(0), HANDLE, bend=0.4)
        # it lets go, rises along the handle's sides, and is out of the way
        position, rotation = self.grasp(0)
        away = float(np.clip((arm.width - HANDLE) / 0.01, 0, 1))
        if np.hypot(*(arm.position - position)[:2]) < 0.06 and arm.position[2] < position[2] + 0.07:
            return Order((arm.position + 0.1 * away * UP, rotation), OPEN)
        return Order((HOME, downward(AHEAD)), OPEN)

    def take(self, arm: Arm) -> Order:
        """Robot 1."""
        yaw = yaw_of(arm.rotation)
        face = turns(self.trash_yaw - yaw, np.pi / 2, -np.pi / 4, np.pi / 4)[0] + yaw
        trash = self.trash, leaning(arm, face)
        has_trash = arm.error(trash)[0] < 0.04
        if not self.within(self.trash, self.trash_bin, 0.12) or self.trash[2] > RIM - 0.02:
            if has_trash and arm.width < TRASH:
                place = np.array([*self.trash_bin[:2], RIM - 0.05])
                return self.carry(arm, self.trash, place, leaning(arm, -AHEAD), RIM + 0.07)
            return self.seize(arm, trash, TRASH)
        if has_trash and arm.width < TRASH + 0.01:
            return Order((arm.position - 0.02 * UP, trash[1]), OPEN)
        if self.holds(arm):
            if self.holds(self.arms[0], 0.06):
                return Order((arm.position, arm.rotation), CLOSED)
            return self.carry(arm, self.hammer, self.target_bin, self.ahead(arm), RIM + 0.085)
        position, rotation = self.grasp(1)
        far = float(np.clip((np.linalg.norm(self.hammer - MEETING) - 0.03) / 0.1, 0, 1))
        if far == 0:
            return self.seize(arm, (position, rotation), HANDLE, rise=0.0)
        ready = far * READY + (1 - far) * (position + 0.08 * UP)
        rotation = rotation if far < 1 else leaning(arm, -AHEAD)
        return Order(self.over(arm, arm.position, ready, OVER, ready[2], rotation), OPEN)

    # ---- what all of these share ------------------------------------------------------------------------------------

    def within(self, thing: np.ndarray, bin_: np.ndarray, margin: float) -> bool:
        return bool(np.abs(thing - bin_)[:2].max() < margin)

    def seize(self, arm: Arm, goal: Pose, thick: float, bend: float = 0.0, rise: float = RISE) -> Order:
        """Come down through a funnel and close around what is ``thick`` metres thick, rising as the fingers close."""
        position, rotation = goal
        high = arm.position[2] - position[2]
        astray, closed = arm.astray(goal), arm.closed(thick)
        if astray < 0.01 + max(0.02 * closed, 0.8 * (0.03 - high)) and high < 0.03:
            return Order((position + closed * rise * UP, rotation), CLOSED)
        high = position[2] + np.clip(SLOPE * (astray - 0.01), 0, max(OVER - position[2], 0.08))
        return Order(self.over(arm, arm.position, position, high, high, rotation), OPEN, bend=bend)

    def carry(
        self, arm: Arm, thing: np.ndarray, place: np.ndarray, rotation: Rotation, top: float, bend: float = 0.0
    ) -> Order:
        """Bring what is held to ``place``, over the walls, and down where it is not far astray."""
        astray = np.hypot(*(place - thing)[:2])
        high = place[2] + np.clip(SLOPE * (astray - 0.03), 0, top - place[2])
        return Order(self.over(arm, thing, place, high, high, rotation), CLOSED, bend=bend)

    def over(self, arm: Arm, thing: np.ndarray, place: np.ndarray, least: float, high: float, turn: Rotation) -> Pose:
        """The hand that brings ``thing`` ``high``, and to ``place`` sideways only as far as it is above ``least``."""
        lifted = np.clip(1 - (least - thing[2] - 0.01) / 0.04, 0, 1)
        # a hand that rises with nothing to hold it sideways drifts towards its base
        middle = min(self.middles, key=lambda one: float(np.hypot(*(one - thing[:2]))))
        if np.hypot(*(middle - thing[:2])) > 0.1:
            middle = thing[:2]
        sideways = (1 - lifted) * middle + lifted * place[:2] - thing[:2]
        return arm.position + np.array([*sideways, high - thing[2]]), turn

    def grasp(self, end: int) -> Pose:
        """Across the handle, near the end that is this robot's."""
        return self.hammer + self.ends[end] * self.along, downward(self.heading - end * np.pi)

    def ahead(self, arm: Arm) -> Rotation:
        """The hand's turn that makes the handle point ahead."""
        return downward(yaw_of(arm.rotation) + AHEAD - self.heading)

    def holds(self, arm: Arm, width: float = HANDLE) -> bool:
        """The fingers stand on the handle."""
        there = self.hammer_rotation.inv().apply(arm.position - self.hammer)
        return bool(np.abs(there[:2]).max() < 0.03 and abs(there[2]) < 0.11 and arm.width < width)


def leaning(arm: Arm, yaw: float) -> Rotation:
    """The hand pointing down, turned by ``yaw``, its fingers towards the robot's base where that is near."""
    lean = LEAN * np.clip((abs(arm.position[1]) - 0.1) / 0.25, 0, 1)
    return downward(yaw) * Rotation.from_euler("y", -lean)
