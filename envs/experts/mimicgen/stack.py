"""MimicGen's Stack and StackThree: cubes onto one another."""

from __future__ import annotations

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
)
from l1flow_agents.layouts import LAYOUTS

FACES = np.pi / 2  # a cube looks the same after this turn
CLEAR = 0.08  # metres: a carried cube passes so high over the one below
HALF_A = 0.02  # of cubes A and C
REST = {"B": 0.025, "A": 0.02}  # half heights of those that something is put upon


class StackExpert(WaypointExpert):
    """Each cube is held by its faces, with the least turning, and put on the next one face along face."""

    layout = LAYOUTS["Stack_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05
    names = "AB"
    moves: tuple[tuple[str, str], ...] = (("A", "B"),)  # which onto which, in order

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.cubes = {name: body_of(objects, f"cube{name}") for name in self.names}

    def plan(self, arm: Arm) -> Plan:
        todo = [move for move in self.moves if not self.done(*move)]
        if not todo:
            return True
        upper, lower = todo[0]
        turn = turns(self.cubes[upper].yaw, FACES, -FACES / 2, FACES / 2)[0] - self.cubes[upper].yaw

        def grasp() -> Pose:
            return self.cubes[upper].position, downward(self.cubes[upper].yaw + turn)

        if not (yield from arm.pick(grasp, slope=1.5, hover=0.1)):
            return False
        held = self.cubes[upper].yaw
        yaw = held + turns(self.cubes[lower].yaw - held, FACES, -FACES / 2, FACES / 2)[0]

        def at(height: float) -> Pose:
            """Hand pose for the held cube to be so high over the middle of the lower one."""
            goal = self.cubes[lower].position + (REST[lower] + HALF_A + height) * UP
            level = Rotation.from_euler("z", yaw)
            return arm.carry(self.cubes[upper], (goal, level))

        grasped = self.cubes[upper].position[2]

        def over() -> Pose:
            """Sideways only as far as it has been lifted: a straight way up clears the others."""
            position, rotation = at(CLEAR)
            lifted = np.clip((self.cubes[upper].position[2] - grasped - 0.05) / 0.04, 0, 1)
            return arm.lifting((position, rotation if lifted else arm.rotation), lifted)

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - self.cubes[upper].position) > 0.04)

        return (
            yield from arm.place(
                over, lambda: at(0.002), bend=0.0, aim=(0.01, 0.1), fit=(0.006, 0.2), steps=30, lost=lost
            )
        )

    def done(self, upper: str, lower: str) -> bool:
        away = self.cubes[upper].position - self.cubes[lower].position
        return bool(np.hypot(*away[:2]) < 0.04 and 0.02 < away[2] < 0.06)


class StackThreeExpert(StackExpert):
    layout = LAYOUTS["StackThree_D0-v0"]
    names = "ABC"
    moves = (("A", "B"), ("C", "A"))
