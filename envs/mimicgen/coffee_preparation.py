"""CoffeePreparation: mug under the holder, lid open, pod from the drawer into the holder, lid shut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1flow_agents.envs.mimicgen.coffee import POD_H, CoffeeScene, machine, pod
from l1flow_agents.envs.mimicgen.drawer import DEEP_FLOOR, TRAY, DrawerScene, drawer, drawer_at
from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.mug_cleanup import mug
from l1flow_agents.envs.mimicgen.scene import Observations
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant, draw
from l1flow_agents.layouts import LAYOUTS

LID_UP, DRAWER_OPEN = 2.08, -0.19  # the lid's angle is larger; the slide is farther out
RADIUS = 0.148  # of the machine, for placement
MUG_SCALE = 1.25  # to MugCleanup's
POD_X, POD_Y, POD_GAP = (-0.03, 0.03), (-0.05, 0.03), 0.001  # on the tray's floor, in the cabinet's axes


def placed(machine_at: tuple[Range, Range, Range], mug_x: Range, mug_yaw: Range) -> Variant:
    placements = {
        "drawer": drawer_at(0.15, -0.35, math.pi),
        "coffee_machine": Placement(*machine_at),
        "mug": Placement(mug_x, (0.05, 0.25), mug_yaw, z=0.02),
    }
    return Variant(placements, full_view=True)


class CoffeePreparationScene(CoffeeScene, DrawerScene):
    layout = LAYOUTS["CoffeePreparation_D0-v0"]
    variants = {
        "D0": placed((-0.15, -0.25, -math.pi / 6), (0.05, 0.20), 0.0),
        "D1": placed(((-0.25, -0.15), (-0.30, -0.25), (-math.pi / 6, math.pi / 6)), (-0.15, 0.20), (0, 2 * math.pi)),
    }
    subtasks = (
        Subtask("mug", "mug_grasp", (5, 10)),
        Subtask("coffee_machine", "mug_place", (5, 10)),
        Subtask("drawer", "drawer_open", (5, 10)),
        Subtask("coffee_pod", "pod_grasp", (5, 10)),
        Subtask("coffee_machine", None),
    )
    start_angle = 0.0

    def make_objects(self) -> list[Any]:
        return [drawer("drawer", deep=True), machine(drip_cup=False, radius=RADIUS), mug("mug", MUG_SCALE), pod()]

    def success(self) -> bool:
        return super().success() and self.mug_placed()

    def mug_placed(self) -> bool:
        plate = [f"coffee_machine_base_{name}" for name in ("plate", "plate_front")]
        return self.stands("mug") and any(self.touching("mug", geom) for geom in plate)

    def signals(self) -> dict[str, bool]:
        return {
            "mug_grasp": self.grasped("mug", tolerant=True),
            "mug_place": self.mug_placed() and self.lid_angle() > LID_UP,
            "drawer_open": self.slide() < DRAWER_OPEN,
            "pod_grasp": self.grasped("coffee_pod"),
        }

    def observations(self) -> Observations:
        return super().observations() | {"drawer_joint_angle": self.slide}

    def _draw_placements(self) -> dict[str, Any]:
        """The pod stands in the drawer."""
        placed = super()._draw_placements()
        corner, quaternion, _ = placed["drawer"]
        turn = 2 * math.atan2(quaternion[3], quaternion[0])
        middle = np.add(TRAY, DEEP_FLOOR)
        x, y = draw(self.rng, POD_X) + middle[0], draw(self.rng, POD_Y) + middle[1]
        away = (
            x * math.cos(turn) - y * math.sin(turn),
            x * math.sin(turn) + y * math.cos(turn),
            middle[2] + POD_GAP + POD_H,
        )
        return {**placed, "coffee_pod": (np.add(corner, away), np.array([1.0, 0, 0, 0]), self.objects["coffee_pod"])}


class CoffeePreparation_D0(MimicGen):
    """Mug and pod into the machine, which does not move."""

    scene = CoffeePreparationScene


class CoffeePreparation_D1(MimicGen):
    """Mug and pod into the machine, which stands and is turned differently."""

    scene = CoffeePreparationScene
