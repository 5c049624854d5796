"""MugCleanup: open the drawer, put the mug in upright, close it."""

from __future__ import annotations

import math
from typing import Any

from l1flow_agents.envs.mimicgen.drawer import DrawerScene, drawer, drawer_at
from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import Geom, composite, tube, upright, weighing
from l1flow_agents.envs.mimicgen.scene import Observations
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant
from l1flow_agents.layouts import LAYOUTS

INNER, OUTER, BOTTOM, RIM, FLOOR = 0.0242, 0.0282, -0.0309, 0.0335, 0.0067  # of the cup, metres; FLOOR: its thickness
AXIS = -0.018  # the cup's y: the frame's origin is the middle of cup and handle
MASS = 0.0068
BEIGE = (0.85, 0.78, 0.65, 1)


def mug(name: str, scale: float = 1.0) -> Any:
    """A cup with a handle at +y."""
    contact: dict[str, Any] = {
        "friction": (1, 1, 1),
        "solref": (0.001, 1),
        "solimp": (0.998, 0.998, 0.001),
        "rgba": BEIGE,
    }
    cup = [
        Geom((OUTER, FLOOR / 2), (0, AXIS, BOTTOM + FLOOR / 2), "cylinder", **contact),
        *tube(20, INNER, OUTER, (RIM - BOTTOM) / 2, (0, AXIS, (RIM + BOTTOM) / 2), **contact),
    ]
    bars = [Geom((0.005, 0.0125, 0.003), (0, 0.0235, z), **contact) for z in (-0.021, 0.027)]
    grip = Geom((0.005, 0.003, 0.027), (0, 0.033, 0.003), **contact)
    made = composite(
        name,
        upright(OUTER * scale, -BOTTOM * scale),
        weighing(MASS * scale**3, [one.scaled(scale) for one in [*cup, *bars, grip]]),
        joints=[{"type": "free", "name": "joint0", "damping": "0.0005"}],
    )
    for geom in made.get_obj().findall("./geom[@group='0']"):
        geom.set("margin", "0.001")
    return made


def placed(drawer_: Placement, x: Range, y: Range) -> Variant:
    return Variant({"drawer": drawer_, "object": Placement(x, y, (0, 2 * math.pi))}, full_view=True)


class MugCleanupScene(DrawerScene):
    layout = LAYOUTS["MugCleanup_D0-v0"]
    variants = {
        "D0": placed(drawer_at(0.0, 0.3, 0.0), (-0.15, 0.15), (-0.25, -0.1)),
        "D1": placed(drawer_at((-0.15, 0.05), (0.25, 0.35), (-math.pi / 6, math.pi / 6)), (-0.25, 0.15), (-0.3, -0.15)),
    }
    subtasks = (
        Subtask("drawer", "open", (10, 20)),
        Subtask("object", "grasp", (10, 20)),
        Subtask("drawer", None),
    )

    def make_objects(self) -> list[Any]:
        return [drawer("drawer"), mug("object")]

    def success(self) -> bool:
        return self.on_tray("object") and self.stands("object") and self.shut()

    def signals(self) -> dict[str, bool]:
        return {"open": self.opened(), "grasp": self.grasped("object", tolerant=True)}

    def observations(self) -> Observations:
        return super().observations() | {"drawer_joint_pos": self.slide}


class MugCleanup_D0(MimicGen):
    """Mug into the drawer, which does not move."""

    scene = MugCleanupScene


class MugCleanup_D1(MimicGen):
    """Mug into the drawer, both anywhere, the drawer turned."""

    scene = MugCleanupScene
