"""Square: the square nut onto the square peg, which may stand elsewhere in every episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import NEAREST, Placement, Range, Subtask, Variant, draw
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import LAYOUTS, Layout

ON_PEG = 0.03  # the nut's middle is nearer to the peg's axis, in x and in y
LOW = 0.05  # and less than this above the table
RELEASED = 0.6  # the gripper's closeness to the nut's middle, 1 - tanh(10 distance), is less (farther than 42 mm)

PEG_HEIGHT, PEG_HALF = 0.85, (0.016, 0.016, 0.1)  # of robosuite's peg1
FAR_AWAY = "-10 0 0.85"


@dataclass(frozen=True)
class Peg:
    x: Range
    y: Range
    yaw: Range = 0.0


@dataclass(frozen=True)
class PegVariant(Variant):
    """``peg`` None: both pegs where robosuite has them."""

    peg: Peg | None = None


def nut(x: Range, y: Range) -> dict[str, Placement]:
    return {"SquareNut": Placement(x, y, (0, 2 * math.pi), z=0.02)}


class SquareScene(Scene):
    layout = LAYOUTS["Square_D0-v0"]
    unused: ClassVar[tuple[str, ...]] = ("RoundNut",)  # only there to have the same state as robosuite's task
    table_top = (0.0, 0.0, 0.82)
    variants: ClassVar[Mapping[str, Variant]] = {"D0": PegVariant(nut((-0.115, -0.11), (0.11, 0.225)))}
    subtasks: ClassVar[tuple[Subtask, ...]] = (
        Subtask("SquareNut", "grasp", (10, 20), **NEAREST),
        Subtask("peg1", None),
    )

    def make_arena(self) -> Any:
        arena = robosuite.models.arenas.PegsArena
        return arena(self.table_size, table_friction=self.table_friction, table_offset=self.table_top)

    def make_objects(self) -> list[Any]:
        return [
            robosuite.models.objects.SquareNutObject("SquareNut"),
            robosuite.models.objects.RoundNutObject("RoundNut"),
        ]

    def on_peg(self, nut: str, peg: str) -> bool:
        position, distance = self.position(nut), np.linalg.norm(self.eef_position() - self.position(nut))
        over = np.all(np.abs(position - self.position(peg))[:2] < ON_PEG)
        return bool(over and position[2] < self.table_top[2] + LOW and 1 - np.tanh(10 * distance) < RELEASED)

    def success(self) -> bool:
        return self.on_peg("SquareNut", "peg1")

    def signals(self) -> dict[str, bool]:
        return {"grasp": self.grasped("SquareNut")}

    def _reset_internal(self) -> None:
        super()._reset_internal()
        if not self.deterministic_reset:
            self.clear_objects(list(self.unused))


class MovedPegScene(SquareScene):
    """The peg is drawn before the nut and stands fast, so it is part of the model."""

    layout = LAYOUTS["Square_D1-v0"]
    extras = Layout(peg1_quat=4)
    model_varies = True
    variant: PegVariant
    variants = {
        "D1": PegVariant(nut((-0.115, 0.115), (-0.255, 0.255)), peg=Peg((-0.1, 0.3), (-0.2, 0.2))),
        "D2": PegVariant(
            nut((-0.25, 0.25), (-0.25, 0.25)),
            full_view=True,
            peg=Peg((-0.25, 0.25), (-0.25, 0.25), (0, math.pi / 2)),
        ),
    }

    def make_arena(self) -> Any:
        arena, ranges = super().make_arena(), self.variant.peg
        assert ranges is not None, "this scene's variants draw the peg"
        x, y, yaw = (draw(self.rng, values) for values in (ranges.x, ranges.y, ranges.yaw))
        self._peg = np.array([x, y, PEG_HEIGHT])
        arena.peg1_body.set("pos", f"{x} {y} {PEG_HEIGHT}")
        arena.peg1_body.set("quat", f"{math.cos(yaw / 2)} 0 0 {math.sin(yaw / 2)}")
        arena.peg2_body.set("pos", FAR_AWAY)
        return arena

    def fixtures(self) -> dict[str, Any]:
        shape = SimpleNamespace(horizontal_radius=math.hypot(*PEG_HALF[:2]), top_offset=np.array([0, 0, PEG_HALF[2]]))
        return {"peg1": (self._peg, None, shape)}


class Square_D0(MimicGen):
    """Nut onto the peg: `Square-v0` with the observation in MimicGen's order."""

    scene = SquareScene


class Square_D1(MimicGen):
    """Nut onto the peg, both nearly anywhere."""

    scene = MovedPegScene


class Square_D2(MimicGen):
    """Nut onto the peg, both anywhere and turned anyhow; the peg's turn is observed only as an extra, ``peg1_quat``."""

    scene = MovedPegScene
