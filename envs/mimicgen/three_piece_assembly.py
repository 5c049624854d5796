"""ThreePieceAssembly: piece 1 into the base's pocket, then piece 2 over piece 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import Geom, cells, composite, wood
from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant
from l1flow_agents.layouts import LAYOUTS

APART = 0.02  # middles are nearer to each other than this, horizontally
SEAT, SEAT_ERROR = 4 * 0.020, 0.02  # height of piece 2 over the base, and how far off it may be

BASE_CELL, BASE_HALF = 0.038, (0.095, 0.095, 0.019)
PIECE_1_CELL, PIECE_1_HALF = 0.034, (0.051, 0.051, 0.051)
PIECE_2_CELL, PIECE_2_HALF = 0.040, (0.060, 0.060, 0.080)


def part(name: str, half: tuple[float, float, float], boxes: list[Geom], density: float) -> Any:
    return composite(name, half, boxes, wood("Red"), density)


def base() -> Any:
    """A square frame without a floor."""
    sides = [((0, 1), (0, 5)), ((4, 5), (0, 5)), ((1, 4), (0, 1)), ((1, 4), (4, 5))]
    return part("base", BASE_HALF, [cells(BASE_CELL, BASE_HALF, *side, (0, 1)) for side in sides], 10_000)


def piece_1() -> Any:
    """A wall along y on a square foot."""
    boxes = [((0, 3), (0, 3), (0, 1)), ((1, 2), (0, 3), (1, 3))]
    return part("piece_1", PIECE_1_HALF, [cells(PIECE_1_CELL, PIECE_1_HALF, *box) for box in boxes], 100)


def piece_2() -> Any:
    """Two legs along y that go over the wall, a deck on them and a knob to hold."""
    legs = [((0, 1), (0, 3), (0, 2)), ((2, 3), (0, 3), (0, 2))]
    boxes = [*legs, ((0, 3), (0, 3), (2, 3)), ((1, 2), (1, 2), (3, 4))]
    return part("piece_2", PIECE_2_HALF, [cells(PIECE_2_CELL, PIECE_2_HALF, *box) for box in boxes], 100)


def placed(base_reach: Range, base_yaw: Range, piece_yaw: Range) -> Variant:
    anywhere = (-0.22, 0.22)
    piece = Placement(anywhere, anywhere, piece_yaw, z=0.001)
    placements = {
        "base": Placement(base_reach, base_reach, base_yaw, z=0.001),
        "piece_1": piece,
        "piece_2": piece,
    }
    return Variant(placements, full_view=True)


class ThreePieceAssemblyScene(Scene):
    layout = LAYOUTS["ThreePieceAssembly_D0-v0"]
    variants = {
        "D0": placed(0.0, 0.0, math.pi / 2),
        "D1": placed((-0.22, 0.22), 0.0, math.pi / 2),
        "D2": placed((-0.22, 0.22), (-math.pi / 4, math.pi / 4), (0, math.pi)),
    }
    subtasks = (
        Subtask("piece_1", "grasp_1", (5, 10)),
        Subtask("base", "insert_1", (5, 10)),
        Subtask("piece_2", "grasp_2", (5, 10)),
        Subtask("piece_1", None),
    )

    def make_objects(self) -> list[Any]:
        return [base(), piece_1(), piece_2()]

    def first_done(self) -> bool:
        return self.apart("piece_1", "base") < APART and not self.grasped("piece_1")

    def success(self) -> bool:
        height = self.position("piece_2")[2] - self.position("base")[2]
        seated = self.apart("piece_2", "piece_1") < APART and abs(height - SEAT) < SEAT_ERROR
        return seated and self.first_done() and not self.grasped("piece_2")

    def apart(self, one: str, other: str) -> float:
        return float(np.linalg.norm((self.position(one) - self.position(other))[:2]))

    def signals(self) -> dict[str, bool]:
        return {
            "grasp_1": self.grasped("piece_1"),
            "insert_1": self.first_done(),
            "grasp_2": self.grasped("piece_2"),
        }


class ThreePieceAssembly_D0(MimicGen):
    """Two pieces into a base that does not move."""

    scene = ThreePieceAssemblyScene


class ThreePieceAssembly_D1(MimicGen):
    """Two pieces into a base, all anywhere."""

    scene = ThreePieceAssemblyScene


class ThreePieceAssembly_D2(MimicGen):
    """Two pieces into a base, all anywhere and turned."""

    scene = ThreePieceAssemblyScene
