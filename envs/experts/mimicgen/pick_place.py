"""MimicGen's PickPlace: milk, cereal, bread and can, each from one bin into its quarter of the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, downward, turns, yaw_of

OBSERVED = ("Milk", "Bread", "Cereal", "Can")
CLEAR = 0.98  # what is lifted this high passes over the bins' walls and over the other objects
FINGER = 0.05  # from the middle of the open hand
QUARTER = np.array([0.0975, 0.1225])  # half of one


class Thing(NamedTuple):
    """Held ``grip`` over its middle, at any of the turns ``faces`` apart; let go of with its middle at ``place``."""

    grip: float
    faces: float
    bottom: float  # from its middle
    place: np.ndarray
    quarter: np.ndarray  # its middle


# Milk and cereal are tall: they are held so high that they count as placed once lower than 0.9, in the hand or not,
# and so they drop the rest of the way. The can's quarter is far out: the fingers stay above its walls.
THINGS = {
    "Milk": Thing(0.047, np.pi / 2, 0.061, np.array([0.01, 0.15, 0.91]), np.array([0.0025, 0.1575])),
    "Cereal": Thing(0.04, np.pi, 0.075, np.array([0.01, 0.37, 0.91]), np.array([0.0025, 0.4025])),
    "Bread": Thing(0.0, np.pi / 2, 0.023, np.array([0.17, 0.15, 0.86]), np.array([0.1975, 0.1575])),
    "Can": Thing(0.015, np.pi / 8, 0.04, np.array([0.155, 0.335, 0.895]), np.array([0.1975, 0.4025])),
}


class PickPlaceExpert(WaypointExpert):
    """One after the other, held where the fingers find room, and put down with the hand always turned alike."""

    speeds, noise = (0.7, 0.95), 0.05

    def see(self, objects: np.ndarray) -> None:
        self.poses = dict(zip(OBSERVED, objects.reshape(4, 14)[:, :7]))

    def draw(self) -> None:
        self.slope, self.hover = 1.5, 0.12

    def plan(self, arm: Arm) -> Plan:
        todo = [name for name in THINGS if not self.done(name)]
        if not todo:
            return True
        name, thing = todo[0], THINGS[todo[0]]
        turn = self.roomiest(name)

        def position() -> np.ndarray:
            return self.poses[name][:3]

        def grasp() -> Pose:
            return position() + thing.grip * UP, downward(self.yaw(name) + turn)

        def over() -> Pose:
            """Above the quarter; sideways only as far as it has been lifted."""
            high = CLEAR + thing.bottom
            away = np.append(thing.place[:2], high) - position()
            lifted = np.clip((position()[2] - high + 0.05) / 0.04, 0, 1)
            return arm.position + away * [lifted, lifted, 1], downward(0.0)

        def into() -> Pose:
            return arm.position + thing.place - position(), downward(0.0)

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - position()) > thing.grip + 0.04)

        if not (yield from arm.pick(grasp, slope=self.slope, hover=self.hover)):
            return False
        how: Any = {"aim": (0.02, 0.2), "fit": (0.01, 0.3), "steps": 30, "opened": 0.01}
        return (yield from arm.place(over, into, bend=0.0, lost=lost, **how))

    def yaw(self, name: str) -> float:
        return yaw_of(Rotation.from_quat(self.poses[name][3:]))

    def roomiest(self, name: str) -> float:
        """The turn of the hand to the object: little, but with the fingers away from the other objects."""
        yaw, middle = self.yaw(name), self.poses[name][:2]
        others = np.array([pose[:2] for other, pose in self.poses.items() if other != name])
        ways = []
        for hand in turns(yaw, THINGS[name].faces, -np.pi / 2, np.pi / 2):
            finger = FINGER * np.array([-np.sin(hand), np.cos(hand)])
            room = min(np.linalg.norm(others - middle - side, axis=1).min() for side in (finger, -finger))
            ways.append((abs(hand) + 30 * max(0.0, 0.05 - room), hand - yaw))
        return min(ways)[1]

    def done(self, name: str) -> bool:
        position = self.poses[name][:3]
        return bool(np.all(np.abs(position[:2] - THINGS[name].quarter) < QUARTER) and position[2] < 0.9)
