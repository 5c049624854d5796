"""ToolHang: stand the hook frame in its stand, then hang the wrench on it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.waypoints import (
    CLOSED,
    OPEN,
    RISE,
    UP,
    Arm,
    Plan,
    Pose,
    WaypointExpert,
    body_of,
    downward,
)
from l1flow_agents.layouts import LAYOUTS

X, Y, _ = np.eye(3)
MOUNT = np.array([0.0, 0.045, 0.155])  # the hole's rim, from the middle of the stand's base
ROD = 0.2207  # from the frame's corner down to its tip
FRAME_GRIP = np.array([0.0, 0.0, -0.038])  # middle of the frame's handle, from its corner
RING = np.array([-0.094, 0.0, 0.0])  # middle of the wrench's larger ring
BAR = 0.0875  # from the frame's corner to the end of the bar, along -x
LEAN = 0.75  # of the palm towards the upper end of what is gripped
SKEW = 0.27  # of the wrench from the bar, so that the hand passes beside the frame
FLAT = 1.35  # the wrench's angle from hanging straight down while its ring comes over the peg
FRAME, TOOL = 0.027, 0.033  # metres between fingers that hold it, and a little more
TURNED = 0.005  # and more where it turns between them
HOME = np.array([-0.1, -0.1, 1.12])


def frame_axes(x: np.ndarray, z: np.ndarray) -> Rotation:
    """The rotation whose x and z axes point there."""
    return Rotation.from_matrix(np.stack([x, np.cross(z, x), z], axis=1))


class ToolHangExpert(WaypointExpert):
    """The hand leans back to grip, so that it points forward and down when what it holds stands upright.

    Each action follows from the newest observation alone, so that a pupil who sees just that can learn it.
    """

    layout = LAYOUTS["ToolHang-v0"]
    speeds = (0.9, 0.9)
    noise = 0.04

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.base, self.frame, self.tool = (body_of(objects, name) for name in ("base", "frame", "tool"))

    def plan(self, arm: Arm) -> Plan:
        yield self.assemble(arm) if self.depth() < 0.1 else self.hang(arm)
        return True

    # ---- the frame --------------------------------------------------------------------------------------------------

    def assemble(self, arm: Arm) -> np.ndarray:
        """Lay the frame's rod forward while carrying, pitch it up over the hole, let it down."""
        grip = self.frame.position + self.frame.rotation.apply(FRAME_GRIP)
        at_grip = np.linalg.norm(arm.position - grip) < 0.05
        if self.depth() > 0.055:  # the rod falls the rest of the way; pushing would wedge it
            return self.let_go(arm, FRAME)
        if not (at_grip and arm.width < FRAME + TURNED * (self.frame.position[2] > 0.9)):
            return self.seize(arm, grasp(grip, self.frame.rotation.apply(UP)), FRAME)
        tip = self.tip()
        astray = np.hypot(*tip[:2])
        if self.depth() > 0.015:  # the hole guides the rod; a hand that turns would wedge it
            return arm.action((arm.position - np.array([tip[0], tip[1], 0.02]), arm.rotation), CLOSED)
        lifted = np.clip((self.frame.position[2] - 0.92) / 0.06, 0, 1)
        if lifted == 0:
            return arm.action((arm.position + 0.1 * UP, arm.rotation), CLOSED)
        rim = self.base.position + MOUNT
        corner = rim + (ROD + 0.03) * UP
        # as steep as it is high, so that the rod clears table and stand
        near = (0.15 - np.hypot(*(corner - self.frame.position)[:2])) / 0.05
        upright = np.clip(max((self.frame.position[2] - 0.95) / 0.17, near), 0, 1) * np.pi / 2
        up = np.cos(upright) * X + np.sin(upright) * UP
        if self.frame.rotation.apply(UP)[2] > 0.98 and astray < 0.03:
            corner = rim + (ROD + min(tip[2] - 0.02 * np.clip((0.0045 - astray) / 0.002, -1, 1), 0.015)) * UP
        start = self.frame.position
        corner = np.array([*start[:2] + lifted * (corner - start)[:2], corner[2]])
        position, rotation = arm.carry((start, self.frame.rotation), (corner, frame_axes(-Y, up)))
        # heavy: it swings past its goal unless it comes slowly
        slowly = float(np.clip(0.12 + 4 * np.linalg.norm(position - arm.position), 0, 1))
        return arm.action((position, rotation), CLOSED, speed=slowly)

    def tip(self) -> np.ndarray:
        """The rod's tip, from the middle of the hole's rim."""
        return np.asarray(self.frame.position - self.frame.rotation.apply(ROD * UP) - self.base.position - MOUNT)

    def depth(self) -> float:
        """How far the tip is down the hole; 0 beside it."""
        tip = self.tip()
        upright = self.frame.rotation.apply(UP)[2] > 0.9  # a frame that lies on the table is low, too
        return max(float(-tip[2]), 0.0) if np.hypot(*tip[:2]) < 0.03 and upright else 0.0

    # ---- the wrench -------------------------------------------------------------------------------------------------

    def hang(self, arm: Arm) -> np.ndarray:
        """Lower the ring, lying almost flat, over the peg at the bar's end, then let the wrench swing down and in."""
        holds = np.linalg.norm(self.tool.position - arm.position) < 0.04 and arm.width < TOOL + TURNED
        ring = self.tool.position + self.tool.rotation.apply(RING)
        place = self.frame.rotation.inv().apply(ring - self.frame.position) + BAR * X  # from the peg's foot
        astray = np.hypot(*place[:2])
        tilt = float(np.arccos(np.clip(-self.tool.rotation.apply(X)[2], -1, 1)))
        hooked = tilt < 0.6 or (tilt < 0.92 and place[2] < 0.0015 and place[0] > 0.003)
        if hooked and astray < 0.03 and abs(place[2]) < 0.025:
            return self.let_go(arm, TOOL)
        if not holds:
            # back off and point down again: straight to the wrench the elbow would run into its end
            if arm.rotation.apply(UP)[0] > 0.3:
                grip = self.frame.position + self.frame.rotation.apply(FRAME_GRIP)
                if np.linalg.norm(arm.position - grip) < 0.1:
                    return self.let_go(arm, FRAME)
                return arm.action((HOME, downward(0.0)), OPEN)
            return self.seize(arm, grasp(self.tool.position, self.tool.rotation.apply(-X)), TOOL, 0.25)
        lifted = np.clip((ring[2] - self.frame.position[2] - 0.04) / 0.03, 0, 1) if astray > 0.04 else 1.0
        begun = np.clip((FLAT - tilt) / 0.15, 0, 1)
        if astray < 0.005 + 0.007 * begun and place[2] < 0.016 + 0.01 * begun:
            # gently, as low as it is steep: the ring touches, and pushing would throw the frame over
            high, speed = float(np.interp(tilt, [0.9, 1.0, 1.2], [0, 0.006, 0.011])), 0.5
            steep = tilt - 0.25 * float(np.clip(1 - (high - place[2]) / 0.004, 0, 1))
            steep = max(steep, float(np.interp(place[2], [0.003, 0.006, 0.011], [0.8, 0.92, 1.1])))
            # the ring's far side passes the bar's end first
            inward = float(np.interp(place[2], [0.002, 0.007], [0.012, -0.001]))
        else:
            steep, inward = FLAT, 0.0
            high = float(np.clip(4 * (astray - 0.005), 0.012, 0.09))
            speed = float(np.clip((place[2] - 0.01) / 0.05, 0.25, 1)) if astray < 0.03 else 1.0
        out = Rotation.from_euler("z", SKEW).apply(Y)
        goal = self.frame.position + self.frame.rotation.apply([inward - BAR, 0, high])
        goal = np.array([*ring[:2] + lifted * (goal - ring)[:2], goal[2]])
        turn = frame_axes(np.sin(steep) * out - np.cos(steep) * UP, np.cos(steep) * out + np.sin(steep) * UP)
        position, rotation = arm.carry((ring, self.tool.rotation), (goal, turn))
        if lifted == 0:
            position, rotation = np.array([*arm.position[:2], position[2]]), arm.rotation
        return arm.action((position, rotation), CLOSED, speed=speed)

    # ---- what both share --------------------------------------------------------------------------------------------

    def seize(self, arm: Arm, goal: Pose, thick: float, top: float = 0.08) -> np.ndarray:
        """Come down through a funnel and close around what is ``thick`` metres thick, rising as the fingers close."""
        position, rotation = goal
        above = arm.position[2] - position[2]
        astray, closed = arm.astray(goal), arm.closed(thick)
        if astray < 0.007 + max(0.02 * closed, 0.6 * (0.02 - above)) and above < 0.02:
            return arm.action((position + closed * RISE * UP, rotation), CLOSED)
        return arm.action((position + np.clip(2 * (astray - 0.007), 0, top) * UP, rotation), OPEN)

    def let_go(self, arm: Arm, thick: float) -> np.ndarray:
        """Open, and back off as the fingers do."""
        opened = np.clip((arm.width - thick) / 0.01, 0, 1)
        return arm.action((arm.position - 0.1 * opened * arm.rotation.apply(UP), arm.rotation), OPEN)


def grasp(position: np.ndarray, top: np.ndarray) -> Pose:
    """The fingers across a lying rod whose upper end will be where ``top`` points; the palm leans towards it."""
    top = np.array([top[0], top[1], 0.0]) / np.hypot(top[0], top[1])
    down = -np.cos(LEAN) * UP - np.sin(LEAN) * top
    return position, frame_axes(np.cos(LEAN) * top - np.sin(LEAN) * UP, down)
