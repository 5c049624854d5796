"""Can: carry the can into its compartment of the other bin."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1flow_agents.envs.experts.waypoints import UP, Arm, Plan, Pose, WaypointExpert, choose, downward
from l1flow_agents.layouts import LAYOUTS

COMPARTMENT = np.array([0.1975, 0.4025, 0.8])  # middle of its floor, which the arm hardly reaches
PLACE = np.array([0.16, 0.35, 0.8])
THICK = 0.054  # metres between the fingers, a little more than on the can
CLEAR = 0.98  # a can whose middle is this high clears the walls of the bins


class CanExpert(WaypointExpert):
    """Three ways to turn the hand, arcs to either side on the way there and on the way over, dropped or set down."""

    layout = LAYOUTS["Can-v0"]
    speeds = (0.8, 1.3)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.can = objects["Can_pos"]

    def draw(self) -> None:
        rng = self.rng
        self.yaw = choose(rng, (0.0, -0.8, 0.8), 0.4) + rng.normal() * 0.1
        self.grip_height = rng.uniform(0.005, 0.03)
        self.bends = rng.choice([-0.4, 0.0, 0.4], 2) + rng.normal(size=2) * 0.1
        self.slope, self.carry, self.drop = rng.uniform(1.5, 3.0), rng.uniform(0.01, 0.04), rng.uniform(0.02, 0.06)
        self.place = PLACE + np.append(rng.uniform(-0.015, 0.015, 2), 0.0)

    def plan(self, arm: Arm) -> Plan:
        if self.done():
            return True
        if not (yield from arm.pick(self.grasp, slope=self.slope, hover=0.12, bend=self.bends[0], thick=THICK)):
            return False
        how: Any = {"aim": (0.03, 3), "fit": (self.drop, 3), "steps": 30, "lost": self.lost, "thick": THICK}
        return (yield from arm.place(self.over, self.into, bend=self.bends[1], **how))

    def grasp(self) -> Pose:
        return self.can + self.grip_height * UP, downward(self.yaw)

    def over(self) -> Pose:
        """Above the compartment; sideways only as far as the can has been lifted."""
        goal = self.place + (CLEAR + self.carry - self.place[2]) * UP
        lifted = np.clip((self.can[2] - CLEAR + 0.05) / 0.04, 0, 1)
        position = self.arm.position + (goal - self.can) * [lifted, lifted, 1]
        return position, downward(self.yaw)

    def into(self) -> Pose:
        return self.arm.position + self.place + 0.065 * UP - self.can, downward(self.yaw)

    def lost(self) -> bool:
        return bool(np.linalg.norm(self.arm.position - self.can) > 0.08)

    def done(self) -> bool:
        return bool(np.all(np.abs(self.can - COMPARTMENT)[:2] < 0.09) and self.can[2] < 0.9)
