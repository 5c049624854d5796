"""Threading: pick the needle up by its handle and push it through the ring on the tripod."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.wrist import central_hand
from l1flow_agents.envs.experts.waypoints import CLOSED, Arm, Plan, Pose, WaypointExpert, body_of, downward, yaw_of
from l1flow_agents.layouts import LAYOUTS

HANDLE = np.array([0.0, 0.06, 0.0])  # its middle in the needle's frame; the tip is the -y end
SHAFT = np.array([0.0, -0.02, 0.0])
TIP = np.array([0.0, -0.08, 0.0])
RING = np.array([0.0, 0.0, 0.088])  # its middle in the tripod's frame; the hole goes along x
BEFORE = 0.10  # from the shaft's middle to the ring's, when the tip has yet to enter


class ThreadingExpert(WaypointExpert):
    """The fingers close across the handle; the needle goes in along the tripod's -x, away from where it lay."""

    layout = LAYOUTS["Threading_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.needle, self.needle_rotation = body_of(objects, "needle")
        self.tripod, self.tripod_rotation = body_of(objects, "tripod")

    def plan(self, arm: Arm) -> Plan:
        needle = yaw_of(self.needle_rotation)
        self.hand_turn = central_hand(needle, self.level_yaw()) - needle
        if not (yield from arm.pick(self.grasp, slope=1.5, hover=0.08)):
            return False
        while not self.lost():
            yield from arm.move(self.onto_axis, CLOSED, tolerance=0.005, lost=self.lost)
            yield from arm.move(self.through, CLOSED, speed=0.7, tolerance=0.0, steps=60, lost=self.lost)
        return False

    def level_yaw(self) -> float:
        """The needle's when it goes in."""
        return yaw_of(self.tripod_rotation) - np.pi / 2

    def grasp(self) -> Pose:
        position = self.needle + self.needle_rotation.apply(HANDLE)
        return position, downward(yaw_of(self.needle_rotation) + self.hand_turn)

    def onto_axis(self) -> Pose:
        """The tip well before the ring; sideways only as far as the needle has been lifted."""
        lifted = np.clip((self.needle[2] - 0.83) / 0.03, 0, 1)
        return self.arm.lifting(self.along(BEFORE), lifted)

    def through(self) -> Pose:
        """The tip goes in as far as the shaft lies on the ring's axis; once inside it cannot leave that."""
        level = Rotation.from_euler("z", self.level_yaw())
        ends = self.needle + self.needle_rotation.apply([TIP, SHAFT]) - self.tripod - RING
        ends = level.inv().apply(ends)
        astray = np.hypot(ends[:, 0], ends[:, 2]).max()
        return self.along(0.0 if ends[0, 1] < -0.01 else np.clip(40 * (astray - 0.002), 0.0, BEFORE))

    def along(self, distance: float) -> Pose:
        """Hand pose for the needle's shaft to be on the ring's axis, so far before the ring."""
        level = Rotation.from_euler("z", self.level_yaw())
        ring = self.tripod + RING
        shaft = ring + level.apply([0.0, distance, 0.0])
        return self.arm.carry((self.needle, self.needle_rotation), (shaft - level.apply(SHAFT), level))

    def lost(self) -> bool:
        handle = self.needle + self.needle_rotation.apply(HANDLE)
        return bool(np.linalg.norm(self.arm.position - handle) > 0.04)
