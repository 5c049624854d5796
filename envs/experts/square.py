"""Square: put the nut over the square peg."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import (
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

PEG = np.array([0.23, 0.1, 0.95])  # middle of its top
WRIST = (-0.6 * np.pi, 0.85 * np.pi)  # the hand's angles short of the end of the wrist's last joint
THICK = 0.035  # metres between the fingers, a little more than on the handle
THREADED = 0.035  # metres: a nut so far below the peg's top is let go and falls; pushed on, it tilts and sticks
HANDLE = np.array([0.058, 0.0, 0.0])  # where it is held, in the nut's frame
CARRY = 0.045  # metres over the peg


class SquareExpert(WaypointExpert):
    """The least turning, with arcs to either side."""

    layout = LAYOUTS["Square-v0"]
    speeds = (0.7, 1.1)
    peg, handle = PEG, HANDLE

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.nut, self.nut_rotation = body_of(objects, "SquareNut")

    def draw(self) -> None:
        self.bends = self.rng.normal(size=2) * 0.25

    def plan(self, arm: Arm) -> Plan:
        if self.done():
            return True
        self.choose_way()
        if not (yield from arm.pick(self.grasp, slope=1.5, hover=0.08, bend=self.bends[0], thick=THICK)):
            return False
        how: Any = {"aim": (0.007, 0.08), "drop": 0.015, "steps": 40, "lost": self.lost, "thick": THICK}
        return (yield from arm.place(self.over, self.onto, bend=self.bends[1], **how))

    def choose_way(self) -> None:
        """Which way round to hold the handle and to put the nut on: with the least turning from here."""
        yaw, now = yaw_of(self.nut_rotation), yaw_of(self.arm.rotation)
        ways = []
        for hand in self.hands(yaw, now, *WRIST):
            for nut in (np.pi / 2, np.pi, -np.pi / 2):  # a handle on the peg's far side is beyond the arm's reach
                turn = (nut - yaw + np.pi) % (2 * np.pi) - np.pi
                if abs(turn) < 0.75 * np.pi and WRIST[0] < hand + turn < WRIST[1]:
                    ways.append((abs(hand - now) + abs(turn), hand - yaw, nut))
        _, self.hand_turn, self.peg_yaw = min(ways)

    def hands(self, yaw: float, now: float, low: float, high: float) -> np.ndarray:
        """Angles of a hand whose fingers close across the handle; of one that holds it, only its own."""
        ways = turns(yaw, np.pi, low, high)
        held = self.arm.around(THICK) and not self.lost()
        return ways[np.argmin(np.abs(ways - now))][None] if held else ways

    def grasp(self) -> Pose:
        position = self.nut + self.nut_rotation.apply(self.handle)
        return position, downward(yaw_of(self.nut_rotation) + self.hand_turn)

    def over(self) -> Pose:
        """The nut above the peg, or on the way there: low while it is far, for a straight arm does not come back."""
        away = float(np.hypot(*(self.peg - self.nut)[:2]))
        if away < 0.015 and self.nut[2] < self.peg[2] - 0.005:  # the peg is in it already
            return self.onto()
        goal = self.peg + (CARRY - 0.1 * np.clip((away - 0.1) / 0.1, 0, 1)) * UP
        lifted = np.clip((self.nut[2] - goal[2] + 0.035) / 0.03, 0, 1)
        return self.hold(self.nut + (goal - self.nut) * [lifted, lifted, 1])

    def onto(self) -> Pose:
        return self.hold(self.peg - THREADED * UP)

    def hold(self, position: np.ndarray) -> Pose:
        """Hand pose for the nut to be there, level and turned for the peg."""
        level = Rotation.from_euler("z", self.peg_yaw)
        return self.arm.carry((self.nut, self.nut_rotation), (position, level))

    def lost(self) -> bool:
        handle = self.nut + self.nut_rotation.apply(self.handle)
        return bool(np.linalg.norm(self.arm.position - handle) > 0.05)

    def done(self) -> bool:
        return bool(np.all(np.abs(self.nut - self.peg)[:2] < 0.02) and self.nut[2] < 0.87)
