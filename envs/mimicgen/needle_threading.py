"""Threading: the needle through the ring on the tripod."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import Geom, composite, wood
from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant
from l1flow_agents.layouts import LAYOUTS

THREADED = 0.012  # the shaft's middle is nearer to the ring's: half the ring's outer side

SHAFT_CENTRE = (0.0, -0.02, 0.0)  # in the needle's frame
SMOOTH = (0.3, 0.005, 0.0001)
RING_CENTRE, RING_PITCH, RING_CELLS = 0.088, 0.004, 6  # height in the tripod's frame; a rim of 6 x 6 cells
FEET = ((-0.04, -0.04), (-0.04, 0.04), (0.04, 0.0))
FOOT_TILT = math.radians(30)  # upper ends lean inwards


def needle() -> Any:
    """Its tip is the -y end, its handle the +y end."""
    shaft = Geom((0.005, 0.06, 0.005), SHAFT_CENTRE, name="shaft", friction=SMOOTH)
    handle = Geom((0.02, 0.02, 0.02), (0, 0.06, 0), name="handle")
    return composite("needle", (0.02, 0.08, 0.02), [shaft, handle], wood("Dark"))


def tripod() -> Any:
    """The ring's hole is 16 mm square and goes along x."""
    feet = [Geom((0.01, 0.03), (x, y, -0.06), "capsule", quat=leaning_inwards(x, y)) for x, y in FEET]
    plate, post = Geom((0.05, 0.05, 0.005), (0, 0, -0.015)), Geom((0.005, 0.005, 0.043), (0, 0, 0.033))
    parts = [*feet, plate, post, *ring()]
    return composite("tripod", (0.05, 0.05, 0.1), parts, wood("Light"))


def ring() -> list[Geom]:
    middle, rim = (RING_CELLS - 1) / 2, {0, RING_CELLS - 1}
    cells = [(row, column) for row in range(RING_CELLS) for column in range(RING_CELLS) if {row, column} & rim]
    size, half = (0.005, RING_PITCH / 2, RING_PITCH / 2), middle * RING_PITCH
    return [
        Geom(
            size,
            (0, column * RING_PITCH - half, RING_CENTRE + row * RING_PITCH - half),
            name=f"ring_{index}",
            friction=SMOOTH,
        )
        for index, (row, column) in enumerate(cells)
    ]


def leaning_inwards(x: float, y: float) -> tuple[float, float, float, float]:
    """Quaternion wxyz that tilts the z axis of a foot at (x, y) towards the middle."""
    distance, sine = math.hypot(x, y), math.sin(FOOT_TILT / 2)
    return math.cos(FOOT_TILT / 2), sine * y / distance, -sine * x / distance, 0.0


def placed(needle_at: tuple[Range, Range, Range], tripod_at: tuple[Range, Range, Range]) -> Variant:
    return Variant({"needle": Placement(*needle_at), "tripod": Placement(*tripod_at, z=0.001)})


class ThreadingScene(Scene):
    layout = LAYOUTS["Threading_D0-v0"]
    variants = {
        "D0": placed(
            ((-0.2, -0.05), (0.15, 0.25), (-2 * math.pi / 3, -math.pi / 3)),
            (0.0, -0.15, math.pi / 2),
        ),
        "D1": placed(
            ((-0.2, 0.05), (0.15, 0.25), (-7 * math.pi / 6, math.pi / 6)),
            ((-0.1, 0.15), (-0.2, -0.1), (math.pi / 6, 5 * math.pi / 6)),
        ),
        "D2": placed(
            ((-0.2, 0.05), (-0.25, -0.15), (-7 * math.pi / 6, math.pi / 6)),
            ((-0.1, 0.15), (0.1, 0.2), (-5 * math.pi / 6, -math.pi / 6)),
        ),
    }
    subtasks = (Subtask("needle", "grasp", (5, 10)), Subtask("tripod", None))

    def make_objects(self) -> list[Any]:
        return [needle(), tripod()]

    def success(self) -> bool:
        ring = self.pose("tripod") @ [0, 0, RING_CENTRE, 1]
        shaft = self.pose("needle") @ [*SHAFT_CENTRE, 1]
        return bool(np.linalg.norm(shaft - ring) < THREADED)

    def signals(self) -> dict[str, bool]:
        return {"grasp": self.grasped("needle")}


class Threading_D0(MimicGen):
    """Needle through the ring; the tripod does not move."""

    scene = ThreadingScene


class Threading_D1(MimicGen):
    """Needle through the ring, both anywhere on their sides of the table."""

    scene = ThreadingScene


class Threading_D2(MimicGen):
    """Needle through the ring, the sides changed."""

    scene = ThreadingScene
