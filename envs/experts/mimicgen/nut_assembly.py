"""MimicGen's NutAssembly: the square nut onto its peg, then the round one onto the other."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.square import SquareExpert
from l1flow_agents.envs.experts.square import HANDLE, PEG
from l1flow_agents.envs.experts.waypoints import Arm, Plan, Pose, body_of, downward, turns, yaw_of
from l1flow_agents.layouts import LAYOUTS

PEGS = (PEG, PEG * [1, -1, 1])  # of the square and of the round nut
HANDLES = (HANDLE, np.array([0.067, 0.0, 0.0]))  # nearer, fingers meet the round nut's ring
WRIST = (-0.6 * np.pi, 1.03 * np.pi)  # farther than in Square, to turn any handle towards the robot


class NutAssemblyExpert(SquareExpert):
    """As in Square, but every handle ends up towards the robot.

    On a peg's other sides it is so far out that the arm straightens, and a straight arm does not come back.
    """

    layout = LAYOUTS["NutAssembly_D0-v0"]
    turn = 0  # the nut that is next

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.nuts = [body_of(objects, name) for name in ("SquareNut", "RoundNut")]
        self.attend(self.turn)

    def attend(self, turn: int) -> None:
        self.turn, self.peg, self.handle = turn, PEGS[turn], HANDLES[turn]
        self.nut, self.nut_rotation = self.nuts[turn]

    def plan(self, arm: Arm) -> Plan:
        for turn in range(len(PEGS)):
            self.attend(turn)
            if not self.done():
                break
        return (yield from super().plan(arm))

    def choose_way(self) -> None:
        """The hand on the handle and on the peg, with the least turning."""
        yaw, now = yaw_of(self.nut_rotation), self.hand_yaw()
        ways = []
        for hand in self.hands(yaw, now, *WRIST):
            for end in turns(hand + np.pi - yaw, 2 * np.pi, *WRIST):
                ways.append((abs(hand - now) + abs(end - hand) + abs(end), hand, end))
        _, self.hand, self.end = min(ways)

    def hand_yaw(self) -> float:
        """Counted as the wrist does, which does not go round."""
        yaw = yaw_of(self.arm.rotation)
        return yaw if yaw > WRIST[0] - 0.1 * np.pi else yaw + 2 * np.pi

    def towards(self, yaw: float) -> float:
        """A hand's angle on the way to ``yaw``, less than half a turn from here."""
        now = self.hand_yaw()
        return now + float(np.clip(yaw - now, -1.5, 1.5))

    def grasp(self) -> Pose:
        position = self.nut + self.nut_rotation.apply(self.handle)
        return position, downward(self.towards(self.hand))

    def hold(self, position: np.ndarray) -> Pose:
        """Hand pose for the nut to be there, level and turned towards the robot."""
        level = Rotation.from_euler("z", yaw_of(self.nut_rotation) + self.towards(self.end) - self.hand_yaw())
        return self.arm.carry((self.nut, self.nut_rotation), (position, level))
