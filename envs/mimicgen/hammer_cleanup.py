"""HammerCleanup: open the drawer, put the hammer in, close it."""

from __future__ import annotations

import math
from typing import Any

from l1flow_agents.envs.mimicgen.drawer import DrawerScene, drawer, drawer_at
from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.scene import TASK_ZOO_VIEWS
from l1flow_agents.envs.mimicgen.spec import Placement, Subtask, Variant
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import LAYOUTS

HEIGHTS, BEHIND = (0.94, 1.0), 0.22  # D0: the hammer is between these and at a larger y, in the world


class HammerCleanupScene(DrawerScene):
    layout = LAYOUTS["HammerCleanup_D0-v0"]
    drawer = "CabinetObject"  # the published name
    table_top = (-0.2, 0.0, 0.9)
    table_friction = (0.6, 0.005, 0.0001)
    # the hammer lies: robosuite's sampler makes of "z" a roll about its handle, of "y" a heading
    variants = {
        "D0": Variant(
            {
                "hammer": Placement((0.10, 0.18), (-0.20, -0.13), (-0.1, 0.1), z=0.02),
                "CabinetObject": drawer_at(0.2, 0.3, 0.0),
            }
        )
    }
    subtasks = (
        Subtask("CabinetObject", "open", (10, 20)),
        Subtask("hammer", "grasp", (10, 20)),
        Subtask("CabinetObject", None),
    )

    def make_objects(self) -> list[Any]:
        hammer = robosuite.models.objects.HammerObject(
            "hammer",
            handle_length=(0.045, 0.05),
            handle_radius=0.012,
            handle_density=(100, 250),
            handle_friction=(3, 5),
            head_density_ratio=1,
            rng=self.rng,
        )
        return [hammer, drawer(self.drawer)]

    def views(self) -> dict[str, tuple]:
        return TASK_ZOO_VIEWS

    def success(self) -> bool:
        _, y, z = self.position("hammer")
        return bool(HEIGHTS[0] < z < HEIGHTS[1] and y > BEHIND) and self.shut()

    def signals(self) -> dict[str, bool]:
        return {"open": self.opened(), "grasp": self.grasped("hammer")}


class TurnedDrawerScene(HammerCleanupScene):
    variants = {
        "D1": Variant(
            {
                "hammer": Placement((-0.2, 0.2), (-0.25, -0.13), (0, 2 * math.pi), z=0.02, axis="y"),
                "CabinetObject": drawer_at((0.0, 0.2), (0.2, 0.3), (-math.pi / 6, math.pi / 6)),
            }
        )
    }

    def success(self) -> bool:
        return self.on_tray("hammer") and self.shut()


class HammerCleanup_D0(MimicGen):
    """Hammer into the drawer, which does not move."""

    scene = HammerCleanupScene


class HammerCleanup_D1(MimicGen):
    """Hammer into the drawer, both anywhere and turned."""

    scene = TurnedDrawerScene
