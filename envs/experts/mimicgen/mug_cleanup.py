"""MugCleanup: open the drawer, put the mug in upright, shut it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.drawer import DrawerExpert
from l1flow_agents.envs.experts.waypoints import yaw_of

CUP = np.array([0.0, -0.018, 0.018])  # the cup's axis in the mug's frame, at the height of the grip
ASIDE = 0.75  # radians that the fingers may be off the direction across the mug's ear


class MugCleanupExpert(DrawerExpert):
    """The cup is held from above by its outside, the fingers clear of its ear, with the least turning."""

    foot, drop = 0.049, 0.002

    def see(self, objects: np.ndarray) -> None:
        self.rotation = Rotation.from_quat(objects[3:7])
        self.thing = objects[:3] + self.rotation.apply(CUP)
        self.drawer, self.drawer_rotation = objects[14:17], Rotation.from_quat(objects[17:21])

    def hold(self) -> float:
        """The fingers close along the hand's y axis; the ear is the mug's y axis."""
        across = (yaw_of(self.rotation) % np.pi) - np.pi / 2
        return across - float(np.clip(across, -ASIDE, ASIDE))
