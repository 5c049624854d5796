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
BASE, FAR, LEAN = np.array([-0.56, 0.0]), 0.66, 0.6  # the robot's; metres from it; radians
WRIST = (-1.9, 3.1)  # the hand's angles short of the ends of its last joint, and of half a turn from 0
WRIST_END, SLANT = -2.2, 0.25  # the hand's angle; how far off the ring's axis the needle still fits through
THICK = 0.042  # metres between the fingers, a little more than on the handle
ENTERING = 0.5  # part of the episode's speed
AIM = 0.0025  # metres that the needle may lie off the ring's axis while it enters


class ThreadingExpert(WaypointExpert):
    """The fingers close across the handle; the needle goes in along the tripod's -x, away from where it lay."""

    layout = LAYOUTS["Threading_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.needle, self.needle_rotation = body_of(objects, "needle")
        self.tripod, self.tripod_rotation = body_of(objects, "tripod")

    def plan(self, arm: Arm) -> Plan:
        needle = yaw_of(self.needle_rotation)
        self.hand_turn = central_hand(needle, self.level_yaw(), WRIST) - needle
        if not (yield from arm.pick(self.grasp, slope=1.5, hover=0.08, thick=THICK)):
            return False
        while not self.lost():
            before = self.before()
            speed = 1.0 if before == BEFORE else ENTERING
            lifted = np.clip((self.needle[2] - 0.83) / 0.03, 0, 1)  # sideways no farther than that
            yield arm.action(arm.lifting(self.along(before), lifted), CLOSED, speed=speed)
        return False

    def level_yaw(self) -> float:
        """The needle's along the ring's axis."""
        return yaw_of(self.tripod_rotation) - np.pi / 2

    def grasp(self) -> Pose:
        position = self.needle + self.needle_rotation.apply(HANDLE)
        return position, downward(yaw_of(self.needle_rotation) + self.hand_turn)

    def before(self) -> float:
        """How far before the ring the needle should be: it goes in as far as it lies on the ring's axis.

        Once the tip is inside it cannot leave that.
        """
        ends = self.needle + self.needle_rotation.apply([TIP, SHAFT]) - self.ring()
        ends = self.level().inv().apply(ends)
        astray = np.hypot(ends[:, 0], ends[:, 2]).max()
        inside = ends[0, 1] < -0.01 and astray < 0.01
        return 0.0 if inside else float(np.clip(20 * (astray - AIM), 0.0, BEFORE))

    def ring(self) -> np.ndarray:
        return np.asarray(self.tripod + self.tripod_rotation.apply(RING))

    def level(self) -> Rotation:
        """The needle's when it goes in: along the ring's axis, or as near to that as the wrist comes."""
        yaw = self.level_yaw()
        turn = (yaw - yaw_of(self.needle_rotation) + np.pi) % (2 * np.pi) - np.pi
        short = np.clip(WRIST_END - yaw_of(self.arm.rotation) - turn, 0.0, SLANT)
        return Rotation.from_euler("z", yaw + short)

    def along(self, distance: float) -> Pose:
        """Hand pose for the needle's shaft to be on the ring's axis, so far before the ring."""
        level = self.level()
        shaft = self.ring() + level.apply([0.0, distance, 0.0])
        rolled = level * Rotation.from_euler("y", self.roll(level, shaft))
        return self.arm.carry((self.needle, self.needle_rotation), (shaft - level.apply(SHAFT), rolled))

    def roll(self, level: Rotation, shaft: np.ndarray) -> float:
        """A hand that points down does not reach far: there the needle, which fits at any roll, leans with it."""
        away = shaft[:2] - BASE
        reach = np.hypot(*away)
        sideways = level.inv().apply([*away / reach, 0.0])[0]
        return -float(LEAN * sideways * np.clip((reach - FAR) / 0.1, 0, 1))

    def lost(self) -> bool:
        handle = self.needle + self.needle_rotation.apply(HANDLE)
        return bool(np.linalg.norm(self.arm.position - handle) > 0.04)
