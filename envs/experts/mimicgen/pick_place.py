"""MimicGen's PickPlace: milk, cereal, bread and can, each from one bin into its quarter of the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, body_of, downward, turns
from l1flow_agents.layouts import LAYOUTS

CLEAR = 0.98  # what is lifted this high passes over the bins' walls and over the other objects
TRAVEL = 1.0  # and the empty hand at this height
PALM = np.array([-0.1, -0.05, 0.05, 0.1])  # places in the open hand, along the way the fingers open: ends and fingers
BIN = np.array([[-0.08, -0.48], [0.28, -0.02]])  # clear of the first one's walls, which a hand at the bread meets
QUARTER = np.array([0.0975, 0.1225])  # half of one


class Thing(NamedTuple):
    """Held ``grip`` over its middle, at any of the turns ``faces`` apart; let go of with its middle at ``place``."""

    grip: float
    faces: float
    bottom: float  # below its middle
    place: np.ndarray
    quarter: np.ndarray  # its middle
    beside: str = ""  # who may stand there, so high that the hand meets it


# Milk and cereal are tall: they are held so high that they count as placed once lower than 0.9, in the hand or not,
# and so they drop the rest of the way. The can's quarter is far out: the fingers stay above its walls.
THINGS = {
    "Milk": Thing(0.055, np.pi / 2, 0.061, np.array([0.01, 0.15, 0.91]), np.array([0.0025, 0.1575]), "Cereal"),
    "Cereal": Thing(0.045, np.pi, 0.075, np.array([0.01, 0.37, 0.91]), np.array([0.0025, 0.4025])),
    "Bread": Thing(0.0, np.pi / 2, 0.023, np.array([0.17, 0.15, 0.86]), np.array([0.1975, 0.1575]), "Can"),
    "Can": Thing(0.015, np.pi / 8, 0.04, np.array([0.155, 0.335, 0.895]), np.array([0.1975, 0.4025])),
}


class PickPlaceExpert(WaypointExpert):
    """One after the other, held where the fingers find room, and put down with the hand always turned alike."""

    layout = LAYOUTS["PickPlace_D0-v0"]
    speeds, noise = (0.8, 1.0), 0.05

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.things = {name: body_of(objects, name) for name in THINGS}

    def plan(self, arm: Arm) -> Plan:
        todo = [name for name in THINGS if not self.done(name)]
        if not todo:
            return True
        name, thing = todo[0], THINGS[todo[0]]
        turn = self.roomiest(name)
        held = self.things[name].yaw + turn

        def position() -> np.ndarray:
            return self.things[name].position

        def grasp() -> Pose:
            return position() + thing.grip * UP, downward(self.things[name].yaw + turn)

        def over() -> Pose:
            """Above the quarter; sideways and turned only as far as it has been lifted."""
            high = CLEAR + thing.bottom
            away = np.append(thing.place[:2], high) - position()
            lifted = np.clip((position()[2] - high + 0.05) / 0.04, 0, 1)
            return arm.position + away * [lifted, lifted, 1], downward((1 - lifted) * held)

        def into() -> Pose:
            return arm.position + thing.place - position(), downward(0.0)

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - position()) > thing.grip + 0.04)

        if not (yield from arm.pick(grasp, slope=2.0, hover=TRAVEL - grasp()[0][2])):
            return False
        how: Any = {"aim": (0.02, 0.2), "drop": 0.01, "steps": 30, "opened": 0.01}
        return (yield from arm.place(over, into, bend=0.0, lost=lost, **how))

    def roomiest(self, name: str) -> float:
        """The turn of the hand to the object: little, but with room for it."""
        thing, yaw, middle = THINGS[name], self.things[name].yaw, self.things[name].position[:2]
        ways = []
        for hand in turns(yaw, thing.faces, -np.pi / 2, np.pi / 2):
            palm = middle + np.outer(PALM, [-np.sin(hand), np.cos(hand)])
            tight = 0.0
            if name == "Bread":
                tight = np.maximum(BIN[0] - palm, palm - BIN[1]).max()
            if thing.beside:
                gaps = palm[:, None] - self.outline(thing.beside)
                tight = max(tight, 0.05 - np.linalg.norm(gaps, axis=2).min())
            ways.append((abs(hand) + 500 * max(0.0, tight), hand - yaw))
        return float(min(ways)[1])

    def outline(self, name: str) -> np.ndarray:
        """Points of the object, seen from above: the cereal is a long box along its x axis."""
        yaw, half = self.things[name].yaw, 0.035 if name == "Cereal" else 0.0
        return self.things[name].position[:2] + np.outer([-half, 0.0, half], [np.cos(yaw), np.sin(yaw)])

    def done(self, name: str) -> bool:
        position = self.things[name].position
        return bool(np.all(np.abs(position[:2] - THINGS[name].quarter) < QUARTER) and position[2] < 0.9)
