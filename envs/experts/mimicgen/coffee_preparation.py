"""CoffeePreparation: mug under the holder, lid up, drawer open, then as in Coffee."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.coffee import HINGE, CoffeeExpert
from l1flow_agents.envs.experts.mimicgen.wrist import central_hand
from l1flow_agents.envs.experts.square import WRIST
from l1flow_agents.envs.experts.waypoints import CLOSED, OPEN, UP, Arm, Plan, Pose, body_of, downward, turns, yaw_of
from l1flow_agents.layouts import LAYOUTS

HANDLE = np.array([0.0, 0.038, 0.012])  # where the mug is held, in its frame
MUG_AT = np.array([0.0, 0.158, -0.061])  # the mug's place in the machine's frame; the hand nearly passes the lid
ENTRY = np.array([0.0, 0.12, 0.03])  # from there to where it comes from
EDGE = np.array([0.0, 0.075, -0.0095])  # from the hinge to a place below the lid's front edge, when shut
LOW = np.array([0.0, 0.185, 0.09])  # before the shut lid, in the machine
PRESS = np.array([0.0, 0.14, 0.095])  # inside it: the fingers lie against its front edge
LID_UP, DRAWER_OPEN = 2.08, -0.19
BAR = np.array([0.0, -0.23, 0.116])  # the handle's in the cabinet, when shut
HOOK = np.array([0.0, -0.02, -0.005])  # from the bar to a hand whose finger is behind it


class CoffeePreparationExpert(CoffeeExpert):
    """The mug is held by its handle, the lid pushed by its front edge, the drawer pulled by a finger behind its bar."""

    layout = LAYOUTS["CoffeePreparation_D0-v0"]
    low = 0.90

    def see(self, objects: dict[str, np.ndarray]) -> None:
        super().see(objects)
        self.drawer, self.drawer_rotation = body_of(objects, "drawer")
        self.mug, self.mug_rotation = body_of(objects, "mug")
        (self.hinge,), (self.slide,) = objects["hinge_angle"], objects["drawer_joint_angle"]

    def plan(self, arm: Arm) -> Plan:
        if not self.mug_in() and not (yield from self.put_mug(arm)):
            return False
        if not self.pod_in():
            if self.hinge < LID_UP and not (yield from self.open_lid(arm)):
                return False
            if self.slide > DRAWER_OPEN and not (yield from self.open_drawer(arm)):
                return False
        return (yield from super().plan(arm))

    def put_mug(self, arm: Arm) -> Plan:
        mug = yaw_of(self.mug_rotation)
        hand = central_hand(mug, self.machine_yaw) - mug
        if not (
            yield from arm.pick(
                lambda: (self.handle(), downward(yaw_of(self.mug_rotation) + hand)), slope=1.5, hover=0.1
            )
        ):
            return False

        def at(offset: np.ndarray) -> Pose:
            """Hand pose for the mug to be so far from its place; sideways only as far as it has been lifted."""
            level = Rotation.from_euler("z", self.machine_yaw)
            goal = arm.carry((self.mug, self.mug_rotation), (self.at(MUG_AT + offset), level))
            lifted = np.clip((self.mug[2] - 0.845) / 0.01, 0, 1)
            return arm.lifting(goal, lifted)

        def lost() -> bool:
            return bool(np.linalg.norm(arm.position - self.handle()) > 0.04)

        if not (yield from arm.move(lambda: at(ENTRY), CLOSED, tolerance=0.02, turn_tolerance=0.1, lost=lost)):
            return False
        if not (yield from arm.move(lambda: at(0.015 * UP), CLOSED, tolerance=0.012, turn_tolerance=0.1, lost=lost)):
            return False
        yield from arm.move(lambda: at(0.0 * UP), CLOSED, tolerance=0.004, steps=15, lost=lost)
        yield from arm.grip(OPEN)
        return (yield from arm.rise(0.07, OPEN))

    def open_lid(self, arm: Arm) -> Plan:
        """Shut fingers push its front edge up and back."""
        hand = downward(self.choose_yaw())
        yield from arm.move(lambda: (self.at(LOW), hand), CLOSED, tolerance=0.02, steps=40)
        yield from arm.move(lambda: (self.at(PRESS), hand), CLOSED, tolerance=0.02, steps=40)
        yield from arm.move(
            lambda: (self.under_lid(min(self.hinge + 0.5, 2.2)), hand),
            CLOSED,
            tolerance=0.0,
            steps=80,
            patience=80,
            lost=lambda: self.hinge > LID_UP + 0.005,
        )
        return (yield from arm.rise(0.06, OPEN)) and self.hinge > LID_UP

    def open_drawer(self, arm: Arm) -> Plan:
        hand = downward(turns(yaw_of(self.drawer_rotation), np.pi, *WRIST)[0])

        def bar(offset: np.ndarray) -> Pose:
            return self.drawer + self.drawer_rotation.apply(BAR + HOOK + offset), hand

        yield from arm.move(lambda: bar(0.06 * UP), OPEN, tolerance=0.02)
        if not (yield from arm.move(lambda: bar(0 * UP), OPEN, tolerance=0.008)):
            return False
        pulled = np.array([0.0, -0.23, 0.0])  # farther than the tray goes
        yield from arm.move(lambda: bar(pulled), OPEN, lost=lambda: self.slide < DRAWER_OPEN)
        return (yield from arm.rise(0.12, OPEN))

    def grasp(self) -> Pose:
        return super().grasp()[0], downward(self.yaw)

    def handle(self) -> np.ndarray:
        return np.asarray(self.mug + self.mug_rotation.apply(HANDLE))

    def under_lid(self, angle: float) -> np.ndarray:
        """Below its front edge when it stands at this angle; where that is inside the lid the hand presses."""
        return self.at(HINGE + Rotation.from_euler("x", angle).apply(EDGE) - [0.0, 0.015, 0.0])

    def mug_in(self) -> bool:
        return bool(np.linalg.norm(self.mug - self.at(MUG_AT)) < 0.02)
