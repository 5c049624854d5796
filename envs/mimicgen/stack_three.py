"""StackThree: red cube A onto green cube B, then blue cube C onto A."""

from __future__ import annotations

from typing import Any

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.scene import Observations
from l1flow_agents.envs.mimicgen.spec import NEAREST, Subtask, Variant
from l1flow_agents.envs.mimicgen.stack import StackScene, anywhere, cube
from l1flow_agents.layouts import LAYOUTS

LIFTED_TWICE = 0.08  # the third cube's centre is higher above the table


class StackThreeScene(StackScene):
    layout = LAYOUTS["StackThree_D0-v0"]
    variants = {"D0": Variant(anywhere("ABC", 0.10)), "D1": Variant(anywhere("ABC", 0.20), full_view=True)}
    subtasks = (
        Subtask("cubeA", "grasp_1", (10, 20), **NEAREST),
        Subtask("cubeB", "stack_1", (10, 20), **NEAREST),
        Subtask("cubeC", "grasp_2", (10, 20), **NEAREST),
        Subtask("cubeA", None, **NEAREST),
    )

    def make_objects(self) -> list[Any]:
        return [*super().make_objects(), cube("cubeC", 0.02, "Blue")]

    def success(self) -> bool:
        return self.stacked("cubeA", "cubeB") and self.stacked("cubeC", "cubeA", LIFTED_TWICE)

    def signals(self) -> dict[str, bool]:
        return {
            "grasp_1": self.grasped("cubeA"),
            "stack_1": self.stacked("cubeA", "cubeB"),
            "grasp_2": self.grasped("cubeC"),
        }

    def observations(self) -> Observations:
        """Stack's, and the same of C; ``cubeB_to_cubeC`` points from C to B, as in the published data."""
        return super().observations() | {
            "gripper_to_cubeC": lambda: self.position("cubeC") - self.eef_position(),
            "cubeA_to_cubeC": lambda: self.position("cubeC") - self.position("cubeA"),
            "cubeB_to_cubeC": lambda: self.position("cubeB") - self.position("cubeC"),
        }


class StackThree_D0(MimicGen):
    """Three cubes on one another, near the middle."""

    scene = StackThreeScene


class StackThree_D1(MimicGen):
    """Three cubes on one another, anywhere."""

    scene = StackThreeScene
