"""Stack: red cube A onto green cube B."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import wood
from l1flow_agents.envs.mimicgen.scene import Observations, Scene
from l1flow_agents.envs.mimicgen.spec import NEAREST, Placement, Subtask, Variant
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import LAYOUTS

LIFTED = 0.04  # a stacked cube's centre is higher above the table


def cube(name: str, half: float, colour: str) -> Any:
    return robosuite.models.objects.BoxObject(
        name, size=[half] * 3, rgba=[1, 1, 1, 1], material=wood(colour), density=1000
    )


def anywhere(names: str, reach: float) -> dict[str, Placement]:
    """Every cube anywhere in a square, turned anyhow."""
    span = (-reach, reach)
    return {f"cube{name}": Placement(span, span, (0, 2 * math.pi), z=0.01) for name in names}


class StackScene(Scene):
    layout = LAYOUTS["Stack_D0-v0"]
    variants = {"D0": Variant(anywhere("AB", 0.08)), "D1": Variant(anywhere("AB", 0.20), full_view=True)}
    subtasks: ClassVar[tuple[Subtask, ...]] = (
        Subtask("cubeA", "grasp", (10, 20), **NEAREST),
        Subtask("cubeB", None, **NEAREST),
    )
    choose_every_subtask = True

    def make_objects(self) -> list[Any]:
        return [cube("cubeA", 0.02, "Red"), cube("cubeB", 0.025, "Green")]

    def stacked(self, upper: str, lower: str, lifted: float = LIFTED) -> bool:
        high = self.position(upper)[2] > self.table_top[2] + lifted
        return bool(high) and self.touching(upper, lower) and not self.grasped(upper)

    def success(self) -> bool:
        return self.stacked("cubeA", "cubeB")

    def signals(self) -> dict[str, bool]:
        return {"grasp": self.grasped("cubeA")}

    def observations(self) -> Observations:
        """Also the way from the gripper to each cube, and from A to B; world axes."""
        return super().observations() | {
            "gripper_to_cubeA": lambda: self.position("cubeA") - self.eef_position(),
            "gripper_to_cubeB": lambda: self.position("cubeB") - self.eef_position(),
            "cubeA_to_cubeB": lambda: self.position("cubeB") - self.position("cubeA"),
        }


class Stack_D0(MimicGen):
    """Red cube onto green cube, both near the middle."""

    scene = StackScene


class Stack_D1(MimicGen):
    """Red cube onto green cube, both anywhere."""

    scene = StackScene
