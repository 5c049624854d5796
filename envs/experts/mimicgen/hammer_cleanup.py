"""HammerCleanup: open the drawer, put the hammer in, shut it."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts.mimicgen.drawer import DrawerExpert
from l1flow_agents.envs.experts.waypoints import body_of, turns, yaw_of
from l1flow_agents.layouts import LAYOUTS

BACK = 0.003  # metres from the handle's middle away from the head
LIFT = np.array([0.0, 0.0, 0.004])


class HammerCleanupExpert(DrawerExpert):
    """The handle is held across and laid parallel to the drawer's front, with the least turning."""

    layout = LAYOUTS["HammerCleanup_D0-v0"]
    spot = np.array([0.0, -0.025, 0.044])
    foot, drop, thick = 0.016, 0.035, 0.028  # the palm is wider than the tray is long and stays above it

    def see(self, objects: dict[str, np.ndarray]) -> None:
        hammer, self.rotation = body_of(objects, "hammer")
        self.thing = self.middle = hammer + self.rotation.apply([0.0, 0.0, -BACK]) + LIFT
        self.drawer, self.drawer_rotation = body_of(objects, "CabinetObject")

    def hold(self) -> float:
        """Along the handle, which is the hammer's z axis; either way round will do."""
        handle = self.rotation.apply([0.0, 0.0, 1.0])
        return float(turns(np.arctan2(handle[1], handle[0]), np.pi, -np.pi / 2, np.pi / 2)[0])

    def lay(self) -> float:
        return yaw_of(self.drawer_rotation)
