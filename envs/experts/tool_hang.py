"""ToolHang: stand the hook frame in its stand, then hang the wrench on it."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import CLOSED, OPEN, UP, Arm, Plan, Pose, WaypointExpert, body_of, downward
from l1flow_agents.layouts import LAYOUTS

X, Y, _ = np.eye(3)
MOUNT = np.array([0.0, 0.045, 0.155])  # the hole's rim, from the middle of the stand's base
ROD = 0.2207  # from the frame's corner down to its tip
FRAME_GRIP = np.array([0.0, 0.0, -0.038])  # middle of the frame's handle, from its corner
RING = np.array([-0.094, 0.0, 0.0])  # middle of the wrench's larger ring
BAR = 0.0875  # from the frame's corner to the end of the bar, along -x


def frame_axes(x: np.ndarray, z: np.ndarray) -> Rotation:
    """The rotation whose x and z axes point there."""
    return Rotation.from_matrix(np.stack([x, np.cross(z, x), z], axis=1))


class ToolHangExpert(WaypointExpert):
    """The hand leans back to grip, so that it points forward and down when what it holds stands upright."""

    layout = LAYOUTS["ToolHang-v0"]
    speeds = (0.6, 1.0)
    noise = 0.04

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.base, self.frame, self.tool = (body_of(objects, name) for name in ("base", "frame", "tool"))

    def draw(self) -> None:
        rng = self.rng
        self.lean = rng.uniform(0.7, 0.8)
        self.offset, self.slope = rng.uniform(-0.004, 0.004), rng.uniform(1.5, 2.5)
        self.skew = rng.uniform(0.2, 0.35)
        self.bend = rng.choice([-0.4, 0.0, 0.4]) + rng.normal() * 0.1

    def plan(self, arm: Arm) -> Plan:
        if arm.rotation.apply(UP)[2] > -0.6:
            yield from self.unfold(arm)
        if self.depth() < 0.1 or self.frame[1].apply(UP)[2] < 0.9:  # a frame that lies on the table is low, too
            return (yield from self.assemble(arm))
        return (yield from self.hang(arm))

    def unfold(self, arm: Arm) -> Plan:
        """Back off and point down again; straight to the next grip the elbow would run into its end."""
        back, rotation = arm.position - 0.12 * arm.rotation.apply(UP), arm.rotation
        yield from arm.move(lambda: (back, rotation), OPEN, tolerance=0.03)
        home = np.array([-0.1, -0.1, 1.12])
        return (yield from arm.move(lambda: (home, downward(0.0)), OPEN, tolerance=0.06, turn_tolerance=0.4))

    def tip(self) -> np.ndarray:
        """The rod's tip, from the middle of the hole's rim."""
        return np.asarray(self.frame[0] - self.frame[1].apply(ROD * UP) - self.base[0] - MOUNT)

    def depth(self) -> float:
        """How far the tip is down the hole; 0 beside it."""
        tip = self.tip()
        return max(float(-tip[2]), 0.0) if np.hypot(*tip[:2]) < 0.03 else 0.0

    def assemble(self, arm: Arm) -> Plan:
        """Lay the frame's rod forward while carrying, pitch it up over the hole, let it down."""

        def held(height: float, up: np.ndarray) -> Pose:
            tip = self.base[0] + MOUNT + height * UP
            return arm.carry(self.frame, (tip + ROD * UP, frame_axes(-Y, up)))

        def insert() -> Pose:
            tip = self.tip()
            if self.depth() > 0.015:  # the hole guides the rod; a hand that turns would wedge it
                return arm.position - np.array([tip[0], tip[1], 0.02]), arm.rotation
            return held(tip[2] - 0.02 if np.hypot(*tip[:2]) < 0.003 else 0.015, UP)

        def lost() -> bool:
            return bool(np.linalg.norm(self.frame_grip() - arm.position) > 0.06)

        def grasp() -> Pose:
            return self.grasp(self.frame_grip(), self.frame[1].apply(UP))

        if not (yield from arm.pick(grasp, slope=self.slope, hover=0.08, bend=self.bend)):
            return False
        yield from arm.rise(0.2, CLOSED)
        if not (yield from arm.move(partial(held, 0.05, X), CLOSED, tolerance=0.15, turn_tolerance=0.3, lost=lost)):
            return False
        yield from arm.move(partial(held, 0.03, UP), CLOSED, tolerance=0.02, turn_tolerance=0.1, lost=lost)
        yield from arm.move(
            insert, CLOSED, tolerance=0.001, steps=150, patience=150, lost=lambda: lost() or self.depth() > 0.055
        )
        if self.depth() < 0.05:
            return False
        # the rod falls the rest of the way; pushing would wedge it
        yield from arm.grip(OPEN)
        return (yield from self.unfold(arm))

    def hang(self, arm: Arm) -> Plan:
        """Lower the ring, lying almost flat, over the peg at the bar's end, then let the wrench swing down and in."""

        def held(tilt: float, inward: float, height: float) -> Pose:
            out = Rotation.from_euler("z", self.skew).apply(Y)
            rotation = frame_axes(np.sin(tilt) * out - np.cos(tilt) * UP, np.cos(tilt) * out + np.sin(tilt) * UP)
            place = self.frame[0] + self.frame[1].apply([inward - BAR, 0, height])
            return arm.carry((self.tool[0] + self.tool[1].apply(RING), self.tool[1]), (place, rotation))

        def lost() -> bool:
            return bool(np.linalg.norm(self.tool[0] - arm.position) > 0.06)

        def grasp() -> Pose:
            return self.grasp(self.tool[0], self.tool[1].apply(-X))

        def above() -> Pose:
            return grasp()[0] + 0.25 * UP, grasp()[1]

        yield from arm.move(above, OPEN, tolerance=0.08, turn_tolerance=1.0)
        if not (yield from arm.pick(grasp, slope=self.slope, hover=0.08)):
            return False
        yield from arm.rise(0.3, CLOSED)
        for inward, height, tolerance in ((-0.03, 0.1, 0.06), (0.0, 0.035, 0.004)):
            if not (yield from arm.move(partial(held, 1.35, inward, height), CLOSED, tolerance=tolerance, lost=lost)):
                return False
        # briefly and gently from here on: the ring touches, and pushing would throw the frame over
        for tilt, inward, height in ((1.3, 0.001, 0.01), (1.0, 0.005, 0.004), (0.85, 0.015, 0.0)):
            place = partial(held, tilt, inward, height)
            yield from arm.move(place, CLOSED, speed=0.5, tolerance=0.004, steps=20, lost=lost)
        yield from arm.grip(OPEN)
        return (yield from self.unfold(arm))

    def frame_grip(self) -> np.ndarray:
        return np.asarray(self.frame[0] + self.frame[1].apply(FRAME_GRIP + self.offset * UP))

    def grasp(self, position: np.ndarray, top: np.ndarray) -> Pose:
        """The fingers across a lying rod whose upper end will be where ``top`` points; the palm leans towards it."""
        top = np.array([top[0], top[1], 0.0]) / np.hypot(top[0], top[1])
        down = -np.cos(self.lean) * UP - np.sin(self.lean) * top
        return position, frame_axes(np.cos(self.lean) * top - np.sin(self.lean) * UP, down)
