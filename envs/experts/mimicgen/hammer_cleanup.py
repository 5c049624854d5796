"""HammerCleanup: open the drawer, put the hammer in, shut it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from l1flow_agents.envs.experts.mimicgen.drawer import DrawerExpert
from l1flow_agents.envs.experts.waypoints import Pose, downward, turns, yaw_of

BACK = 0.003  # metres from the handle's middle away from the head
LIFT = np.array([0.0, 0.0, 0.004])


class HammerCleanupExpert(DrawerExpert):
    """The handle is held across and laid parallel to the drawer's front, with the least turning."""

    foot, drop = 0.014, 0.03  # the palm is wider than the tray is long and stays above it

    def see(self, objects: np.ndarray) -> None:
        self.thing, self.thing_rotation = objects[:3], Rotation.from_quat(objects[3:7])
        self.drawer, self.drawer_rotation = objects[14:17], Rotation.from_quat(objects[17:21])

    def handle_yaw(self) -> float:
        """The handle is the hammer's z axis, and either way round will do for the hand."""
        along = self.thing_rotation.apply([0.0, 0.0, 1.0])
        return float(turns(np.arctan2(along[1], along[0]), np.pi, -np.pi / 2, np.pi / 2)[0])

    def grasp(self) -> Pose:
        return self.thing + self.thing_rotation.apply([0.0, 0.0, -BACK]) + LIFT, downward(self.handle_yaw())

    def hand_yaw(self) -> float:
        return yaw_of(self.drawer_rotation)
