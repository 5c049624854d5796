"""NutAssembly: both nuts onto their pegs."""

from __future__ import annotations

import math

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.spec import NEAREST, Placement, Subtask
from l1flow_agents.envs.mimicgen.square import PegVariant, SquareScene, nut
from l1flow_agents.layouts import LAYOUTS


class NutAssemblyScene(SquareScene):
    layout = LAYOUTS["NutAssembly_D0-v0"]
    unused = ()
    variants = {
        "D0": PegVariant(
            {
                **nut((-0.115, -0.11), (0.11, 0.225)),
                "RoundNut": Placement((-0.115, -0.11), (-0.225, -0.11), (0, 2 * math.pi), z=0.02),
            }
        )
    }
    subtasks = (
        Subtask("SquareNut", "grasp_square_nut", (10, 20), **NEAREST),
        Subtask("peg1", "insert_square_nut", (10, 20)),
        Subtask("RoundNut", "grasp_round_nut", (10, 20)),
        Subtask("peg2", None),
    )

    def success(self) -> bool:
        return self.on_peg("SquareNut", "peg1") and self.on_peg("RoundNut", "peg2")

    def signals(self) -> dict[str, bool]:
        return {
            "grasp_square_nut": self.grasped("SquareNut"),
            "insert_square_nut": self.on_peg("SquareNut", "peg1"),
            "grasp_round_nut": self.grasped("RoundNut"),
        }


class NutAssembly_D0(MimicGen):
    """Square nut and round nut onto their pegs."""

    scene = NutAssemblyScene
