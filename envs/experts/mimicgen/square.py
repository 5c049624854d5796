"""MimicGen's Square: `SquareExpert` in one manner, and in MimicGen's order of observations."""

from __future__ import annotations

import numpy as np

from l1flow_agents.envs.experts import square
from l1flow_agents.envs.experts.waypoints import UP
from l1flow_agents.layouts import LAYOUTS

PEG_HALF = 0.1  # of its height


class SquareExpert(square.SquareExpert):
    """Without arcs."""

    layout = LAYOUTS["Square_D0-v0"]
    speeds, noise = (0.6, 0.9), 0.05

    def draw(self) -> None:
        self.bends = (0.0, 0.0)


class MovedPegExpert(SquareExpert):
    """The observation shows where the peg stands, but not its turn."""

    layout = LAYOUTS["Square_D1-v0"]

    def see(self, objects: dict[str, np.ndarray]) -> None:
        super().see(objects)
        self.peg = objects["peg1_pos"] + PEG_HALF * UP
