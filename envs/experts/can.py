"""Can: carry the can into its compartment of the other bin."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, downward
from l1flow_agents.layouts import LAYOUTS

COMPARTMENT = np.array([0.1975, 0.4025, 0.8])  # middle of its floor, which the arm hardly reaches
PLACE = np.array([0.16, 0.35, 0.8])
THICK = 0.054  # metres between the fingers, a little more than on the can
CLEAR, CARRY = 0.98, 0.025  # a can whose middle is this high clears the walls of the bins, and how much higher it goes
GRIP = 0.015  # metres from the middle of the can to the fingertips
DROP = 0.03  # over where it would stand: one height for all, so that one observation tells when to let go


class CanExpert(WaypointExpert):
    """Arcs to either side on both ways; else in one manner, so that one observation tells what comes next."""

    layout = LAYOUTS["Can-v0"]
    speeds = (0.8, 1.3)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.can = objects["Can_pos"]

    def draw(self) -> None:
        self.yaw = self.rng.normal() * 0.15
        self.bends = self.rng.normal(size=2) * 0.25

    def plan(self, arm: Arm) -> Plan:
        if self.done():
            return (yield from arm.let_go(self.into, THICK))
        if not (yield from arm.pick(self.grasp, slope=2.0, hover=0.12, bend=self.bends[0], thick=THICK)):
            return False
        how: Any = {"aim": (0.03, 3), "drop": DROP, "steps": 30, "lost": self.lost, "thick": THICK}
        return (yield from arm.place(self.over, self.into, bend=self.bends[1], **how))

    def grasp(self) -> Pose:
        return self.can + GRIP * UP, downward(self.yaw)

    def over(self) -> Pose:
        """Above the compartment; sideways only as far as the can has been lifted."""
        goal = PLACE * [1, 1, 0] + (CLEAR + CARRY) * UP
        lifted = np.clip((self.can[2] - CLEAR + 0.05) / 0.04, 0, 1)
        position = self.arm.position + (goal - self.can) * [lifted, lifted, 1]
        return position, downward(self.yaw)

    def into(self) -> Pose:
        return self.arm.position + PLACE + 0.065 * UP - self.can, downward(self.yaw)

    def lost(self) -> bool:
        return bool(np.linalg.norm(self.arm.position - self.can) > 0.08)

    def done(self) -> bool:
        return bool(np.all(np.abs(self.can - COMPARTMENT)[:2] < 0.09) and self.can[2] < 0.9)
