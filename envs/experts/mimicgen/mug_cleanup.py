"""MugCleanup: open the drawer, put the mug in upright, shut it."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.mimicgen.drawer import DrawerExpert
from l1flow_agents.envs.experts.waypoints import body_of, yaw_of
from l1flow_agents.layouts import LAYOUTS

CUP = np.array([0.0, -0.018, 0.018])  # the cup's axis in the mug's frame, at the height of the grip
ASIDE = 0.75  # radians that the fingers may be off the direction across the mug's ear


class MugCleanupExpert(DrawerExpert):
    """The cup is held from above by its outside, the fingers clear of its ear, with the least turning."""

    layout = LAYOUTS["MugCleanup_D0-v0"]
    spot = np.array([0.0, -0.01, 0.044])
    foot, drop, thick = 0.049, 0.002, 0.060

    def see(self, objects: dict[str, np.ndarray]) -> None:
        self.middle, self.rotation = body_of(objects, "object")
        self.thing = self.middle + self.rotation.apply(CUP)
        self.drawer, self.drawer_rotation = body_of(objects, "drawer")
        (self.slide,) = objects["drawer_joint_pos"]

    def hold(self) -> float:
        """The fingers close along the hand's y axis; the ear is the mug's y axis."""
        across = (yaw_of(self.rotation) % np.pi) - np.pi / 2
        return across - float(np.clip(across, -ASIDE, ASIDE))

    def opened(self) -> bool:
        return bool(self.slide < -0.12)
