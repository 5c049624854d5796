"""MimicGen's Square: `SquareExpert` without arcs, and wherever the peg stands."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts import square
from l1flow_agents.envs.experts.square import CARRY, HANDLE, WRIST
from l1flow_agents.envs.experts.waypoints import UP, Pose, turns, yaw_of
from l1flow_agents.layouts import LAYOUTS, Layout

PEG_HALF = 0.1  # of its height
SHOULDER = np.array([-0.56, 0.0, 1.245])
# metres: from the wrist to the fingertips, along the fingers and across them; the wrist's way from the shoulder
HAND, ACROSS, NEAR, REACH = 0.21, 0.088, 0.3, 0.69
LEAN, LEAN_ACROSS = 0.5, 0.12  # radians at most
BENT, STRETCH = 0.66, 0.3  # metres from the robot to a hand that turns, and how much farther it goes at all


class SquareExpert(square.SquareExpert):
    """Without arcs."""

    layout = LAYOUTS["Square_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05

    def draw(self) -> None:
        self.bends = np.zeros(2)


class MovedPegExpert(SquareExpert):
    """Fingers lean outwards, along the handle, where it is far out; the nut goes on as is best in reach.

    Without ``peg1_quat`` the observation does not show the peg's turn, and the nut is not turned for it.
    """

    layout, extras = LAYOUTS["Square_D1-v0"], Layout(peg1_quat=4)

    def see(self, objects: dict[str, np.ndarray]) -> None:
        super().see(objects)
        self.peg = objects["peg1_pos"] + PEG_HALF * UP
        self.peg_turn = yaw_of(Rotation.from_quat(objects.get("peg1_quat", [0, 0, 0, 1])))

    def choose_way(self) -> None:
        """Hand and nut either way round: the least turning, but not out of reach."""
        yaw, now = yaw_of(self.nut_rotation), yaw_of(self.arm.rotation)
        ways = []
        for hand in self.hands(yaw, now, *WRIST):
            for turn in turns(self.peg_turn - yaw, np.pi / 2, -0.75 * np.pi, 0.75 * np.pi):
                if WRIST[0] < hand + turn < WRIST[1]:
                    level = Rotation.from_euler("z", yaw + turn)
                    lean = Rotation.from_euler("z", turn).apply(self.lean())
                    beyond = beyond_reach(self.peg + CARRY * UP + level.apply(HANDLE), lean)
                    beyond = max(beyond, NEAR - REACH - beyond)
                    ways.append((abs(hand - now) + abs(turn) + 60 * max(beyond, -0.02), hand - yaw, yaw + turn))
        _, self.hand_turn, self.peg_yaw = min(ways)

    def lean(self) -> np.ndarray:
        """How far the fingers point outwards for the wrist to reach the handle, (3,) horizontal: more along it."""
        outwards = np.append(unit((self.nut - SHOULDER)[:2]), 0.0)
        handle = self.nut_rotation.apply([1.0, 0.0, 0.0])
        side = np.cross(UP, handle)
        far = beyond_reach(self.nut + self.nut_rotation.apply(HANDLE), np.zeros(3))
        lean = LEAN * np.clip(2 * outwards @ handle, -1, 1) * handle + LEAN_ACROSS * (outwards @ side) * side
        return np.asarray(lean * np.clip((far + 0.07) / 0.1, 0, 1))

    def grasp(self) -> Pose:
        position, rotation = super().grasp()
        # a little too near: the fingers are far enough apart, and pull it in
        nearer = np.clip((beyond_reach(position, np.zeros(3)) + 0.02) / 0.04, 0, 1) * 0.012
        position[:2] -= nearer * unit((position - SHOULDER)[:2])
        lean = self.lean()
        leaning = Rotation.from_rotvec(np.cross(lean, UP)) * rotation
        position, rotation, turned = self.turned_first(position + 0.015 * np.linalg.norm(lean) * UP, leaning)
        return position + 0.1 * (1 - turned) * UP, rotation

    def over(self) -> Pose:
        return self.turned_first(*super().over())[:2]

    def turned_first(self, position: np.ndarray, rotation: Rotation) -> tuple[np.ndarray, Rotation, float]:
        """The pose, but farther in until the hand has turned, and how far it has, 0 to 1.

        A hand that turns far out stretches the arm, and a straight arm does not come back.
        """
        missing = (rotation * self.arm.rotation.inv()).magnitude()
        turned = float(np.clip((0.4 - missing) / 0.2, 0, 1))
        from_robot = (position - SHOULDER)[:2]
        away = min(float(np.linalg.norm(from_robot)), BENT + turned * STRETCH)
        stretched = np.linalg.norm((self.arm.position - SHOULDER)[:2]) > BENT + 0.03
        place = np.append(SHOULDER[:2] + away * unit(from_robot), position[2])
        return place, self.arm.rotation if stretched and turned < 1 else rotation, turned


def beyond_reach(fingertips: np.ndarray, lean: np.ndarray) -> float:
    """Metres by which the wrist is too far from the shoulder, below 0 within reach.

    ``lean``: how far the fingers point sideways, (3,).
    """
    outwards = np.append(unit((fingertips - SHOULDER)[:2]), 0.0)
    wrist = fingertips - HAND * unit(lean - UP) - ACROSS * outwards
    return float(np.linalg.norm(wrist - SHOULDER)) - REACH


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
