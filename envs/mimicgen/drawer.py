"""The drawer of HammerCleanup and MugCleanup, and the deeper one of CoffeePreparation.

Its front, with the handle, looks to -y. The cabinet stands fast, the tray slides; what stops it is what it is made of:
the tray's back does not pass the cabinet's front posts.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from l1flow_agents.envs.mimicgen.objects import Geom, Part, articulated, composite, weigh, wood
from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import Placement, Range

SHUT, OPEN = -0.01, -0.10  # the slide is farther in; farther out
WITHDRAWN = 0.24  # the gripper is farther from the tray's origin
RADIUS, TOP, GAP = 0.15, 0.13, 0.005  # for placement; the cabinet's origin over the table
TRAY = (0, -0.01, 0.076)  # in the cabinet, when shut

HALF = math.sqrt(0.5)
ALONG_X, ALONG_Y = (HALF, 0, HALF, 0), (HALF, HALF, 0, 0)  # quaternions wxyz of capsules

CABINET = (
    *(Geom((0.008, 0.112, 0.064), (x, 0, 0.065)) for x in (-0.11, 0.11)),
    Geom((0.102, 0.008, 0.064), (0, 0.092, 0.062)),
    Geom((0.102, 0.102, 0.014), (0, -0.008, 0.004)),
    Geom((0.102, 0.102, 0.008), (0, 0.01, 0.121)),
    *(Geom((0.012, 0.012, 0.064), (x, -0.1, 0.065)) for x in (-0.102, 0.102)),
)
SLIDING = (
    Geom((0.088, 0.010, 0.046), (0, -0.095, 0.007)),
    Geom((0.095, 0.008, 0.028), (0, 0.065, 0.008)),
    *(Geom((0.008, 0.084, 0.028), (x, 0, 0)) for x in (-0.072, 0.072)),
    Geom((0.08, 0.09, 0.008), (0, 0, -0.04), name="bottom"),
)
DEEP_CABINET = (
    *(Geom((0.008, 0.1435, 0.064), (x, -0.0315, 0.065)) for x in (-0.11, 0.11)),
    Geom((0.102, 0.008, 0.064), (0, 0.092, 0.062)),
    Geom((0.102, 0.1335, 0.014), (0, -0.0395, 0.004)),
    Geom((0.102, 0.1335, 0.008), (0, -0.0215, 0.121)),
    *(Geom((0.012, 0.012, 0.064), (x, -0.163, 0.065)) for x in (-0.102, 0.102)),
)
DEEP_SLIDING = (
    Geom((0.088, 0.010, 0.046), (0, -0.155, 0.007)),
    Geom((0.095, 0.008, 0.028), (0, 0.065, 0.008)),
    *(Geom((0.008, 0.114, 0.008), (x, -0.042, -0.015)) for x in (-0.072, 0.072)),
    Geom((0.08, 0.12, 0.008), (0, -0.04, -0.03), name="bottom"),
)
DEEP_FLOOR = (0, -0.04, -0.022)  # the middle of its tray's floor, in the tray


def handle(y: float) -> list[Geom]:
    """``y`` of the bar, in the tray."""
    look = {"type": "capsule", "material": wood("Light")}
    stems = [Geom((0.009, 0.03), (x, y + 0.03, 0.04), quat=ALONG_Y, **look) for x in (-0.05, 0.05)]
    return [*stems, Geom((0.009, 0.05), (0, y, 0.04), quat=ALONG_X, **look)]


def drawer(name: str, deep: bool = False) -> Any:
    cabinet = composite("cabinet", (0.118, 0.118, 0.129), DEEP_CABINET if deep else CABINET, wood("Red"))
    sliding = [*DEEP_SLIDING, *handle(-0.22)] if deep else [*SLIDING, *handle(-0.16)]
    tray = composite("tray", (0.095, 0.105, 0.05), sliding, wood("Red"))
    # the published one is much heavier than its walls
    weigh(tray, 7.854, (0.923, 0.765, 0.169), pos=(0, 0, 0.35), quat=(0.5, 0.5, 0.5, 0.5))
    slide = {"name": "slide", "type": "slide", "axis": "0 1 0", "range": "-1 0", "limited": "true", "damping": "100"}
    return articulated(name, [Part(cabinet, (0, 0, 0)), Part(tray, TRAY, slide)], RADIUS, 0, TOP, joints=None)


def drawer_at(x: Range, y: Range, yaw: Range) -> Placement:
    return Placement(x, y, yaw, z=GAP)


class DrawerScene(Scene):
    model_varies = True  # the cabinet stands fast
    drawer: ClassVar[str] = "drawer"  # the object's name

    def slide(self) -> float:
        """Zero when shut, negative when open."""
        return self.joint(f"{self.drawer}_slide")

    def shut(self) -> bool:
        return self.slide() > SHUT

    def opened(self) -> bool:
        """Open, and let go."""
        away = np.linalg.norm(self.eef_position() - self.position(f"{self.drawer}_tray_root"))
        return bool(self.slide() < OPEN and away > WITHDRAWN)

    def on_tray(self, name: str) -> bool:
        return self.touching(name, f"{self.drawer}_tray_bottom")
