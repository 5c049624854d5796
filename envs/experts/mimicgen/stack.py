"""MimicGen's Stack and StackThree: cubes onto one another."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.wrist import reaching
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

FACES = np.pi / 2  # a cube looks the same after this turn
WRIST = 0.6 * np.pi  # the hand turns no farther to either side
CLEAR = 0.04  # metres: a carried cube passes so high over the one below
HALF = {"A": 0.02, "B": 0.025, "C": 0.02}
THICK = 0.045  # metres between the fingers, a little more than on a cube


class StackExpert(WaypointExpert):
    """Each cube is held by its faces, with little turning, and put on the next one face along face."""

    layout = LAYOUTS["Stack_D0-v0"]
    speeds, noise = (0.7, 0.9), 0.1
    names = "AB"
    moves: tuple[tuple[str, str], ...] = (("A", "B"),)  # which onto which, in order

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.cubes = {name: body_of(objects, f"cube{name}") for name in self.names}

    def plan(self, arm: Arm) -> Plan:
        todo = [move for move in self.moves if not self.done(*move)]
        if not todo:
            return True
        upper, lower = todo[0]

        def grasp() -> Pose:
            cube, below = self.cubes[upper], self.cubes[lower]
            tilt = Rotation.from_euler("y", reaching(cube.position, below.position))
            return cube.position, downward(self.easiest(cube.yaw, beside=upper)) * tilt

        def at(height: float) -> Pose:
            """Hand pose for the held cube to be so high over the middle of the lower one."""
            cube, below = self.cubes[upper], self.cubes[lower]
            goal = below.position + (HALF[lower] + HALF[upper] + height) * UP
            hand = yaw_of(arm.rotation)
            level = Rotation.from_euler("z", cube.yaw + self.easiest(below.yaw + hand - cube.yaw) - hand)
            return arm.carry(cube, (goal, level))

        def over() -> Pose:
            """Sideways only as far as it has been lifted: a straight way up clears the others."""
            position, rotation = at(CLEAR)
            lifted = np.clip(1 + (arm.position[2] - position[2] + 0.01) / 0.03, 0, 1)
            return arm.lifting((position, rotation if lifted else arm.rotation), lifted)

        if not (yield from arm.pick(grasp, slope=3, hover=0.12, thick=THICK)):
            return False
        how: Any = {"aim": (0.01, 0.1), "drop": 0.01, "steps": 30, "thick": THICK}
        return (yield from arm.place(over, lambda: at(0.002), bend=0.0, lost=lambda: not self.near(upper), **how))

    def easiest(self, yaw: float, beside: str = "") -> float:
        """Of the hand's turns across faces at ``yaw`` the nearest, and rather one far from the wrist's limits.

        The nearer the hand comes, the less it would choose another one. No finger goes between cube ``beside`` and one
        close to it.
        """
        hand = yaw_of(self.arm.rotation)
        near = [self.narrowness(beside, other) for other in self.cubes if beside not in ("", other)]

        def cost(turn: float) -> float:
            fingers = np.array([-np.sin(turn), np.cos(turn)])
            return abs(turn - hand) + 0.5 * abs(turn) + float(sum(abs(way @ fingers) for way in near))

        return float(min(turns(yaw, FACES, -WRIST, WRIST), key=cost))

    def narrowness(self, one: str, other: str) -> np.ndarray:
        """Towards ``other``; long where it leaves no room for a finger."""
        way: np.ndarray = (self.cubes[other].position - self.cubes[one].position)[:2]
        distance = float(np.hypot(*way))
        return way * float(4 / distance * np.clip((0.11 - distance) / 0.04, 0, 1))

    def near(self, name: str) -> bool:
        return bool(np.linalg.norm(self.arm.position - self.cubes[name].position) < 0.04)

    def done(self, upper: str, lower: str) -> bool:
        away = self.cubes[upper].position - self.cubes[lower].position
        held = self.near(upper) and self.arm.width < THICK
        return bool(np.hypot(*away[:2]) < 0.04 and 0.02 < away[2] < 0.06 and not held)


class StackThreeExpert(StackExpert):
    layout = LAYOUTS["StackThree_D0-v0"]
    names = "ABC"
    moves = (("A", "B"), ("C", "A"))
