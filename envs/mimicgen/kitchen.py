"""Kitchen: stove on, pot onto it, bread into the pot, pot to the serving region, stove off.

Success needs to know that the bread was cooked earlier. Two slides that nothing pushes remember it as part of the
simulation's state, so that a state carries them: the stove's lamp is up while the stove is on, ``cooked`` is 1 once
the bread was in the pot on the hot stove.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import CustomMaterial, Geom, Part, articulated, composite, upright, weigh, wood
from l1flow_agents.envs.mimicgen.scene import TASK_ZOO_VIEWS, Scene
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import LAYOUTS

SERVED = (0.05, 0.10, 0.05)  # pot and serving region are nearer, in x, y and z
ON = 0.0  # the button's angle, at least
BUTTON_RANGE = 0.3
LAMP_UP = 0.004  # metres: out of the stove

BURNER, LAMP, COOKED, BUTTON = "Stove1_top_burner", "Stove1_lamp", "Stove1_cooked", "Button1_hinge"
SUNK, FLAT = -0.005, -0.022  # gaps to the table, as `Placement` has them
DARK, RED, WHITE, UNSEEN = (0.15, 0.15, 0.15, 1), (0.9, 0.1, 0.1, 1), (0.85, 0.85, 0.85, 1), (0, 0, 0, 0)


def steel() -> Any:
    return CustomMaterial(
        texture="SteelScratched",
        tex_name="steel",
        mat_name="steel_mat",
        tex_attrib={"type": "cube"},
        mat_attrib={"texrepeat": "3 3", "specular": "0.4", "shininess": "0.1"},
    )


def stove() -> Any:
    disc = partial(Geom, type="cylinder", kind="visual")
    top = composite(
        "top",
        (0.095, 0.095, 0.0225),
        [
            Geom((0.095, 0.095, 0.02), (0, 0, 0), rgba=WHITE),
            Geom((0.095, 0.095, 0.0005), (0, 0, 0.022), name="burner", kind="collision"),
            disc((0.06, 0.001), (0, 0, 0.0205), rgba=DARK),
        ],
    )
    lamp = composite("lamp", (0.06, 0.06, 0.001), [disc((0.06, 0.001), (0, 0, 0), rgba=RED)])
    memory = composite("memory", (0.001, 0.001, 0.001), [disc((0.001, 0.001), (0, 0, 0), rgba=UNSEEN)])
    for one in (lamp, memory):
        weigh(one, 0.001, (1e-6, 1e-6, 1e-6), pos=(0, 0, 0))
        one.get_obj().set("gravcomp", "1")
    parts = [
        Part(top, (0, 0, 0)),
        Part(lamp, (0, 0, 0.018), {"name": "lamp", "type": "slide", "axis": "0 0 1"}),
        Part(memory, (0, 0, -0.5), {"name": "cooked", "type": "slide", "axis": "1 0 0"}),
    ]
    return articulated("Stove1", parts, radius=0.1, bottom=0, top=0.0225, joints=None)


def button() -> Any:
    base = composite("base", upright(0.04, 0.02), [Geom((0.04, 0.02), (0, 0, 0), "cylinder", rgba=WHITE)])
    pad = Geom((0.0325, 0.0125), (0, 0, 0.08), "cylinder", rgba=RED)
    rocker = composite("rocker", upright(0.0325, 0.09), [Geom((0.025, 0.007, 0.025), (0, 0, 0.05), rgba=DARK), pad])
    weigh(rocker, 0.243, (0.091, 0.052, 0.044), pos=(0, 0, 0.03))
    hinge = {
        "name": "hinge",
        "type": "hinge",
        "axis": "1 0 0",
        "pos": "0 0 0.03",
        "range": f"{-BUTTON_RANGE} {BUTTON_RANGE}",
        "limited": "true",
        "damping": "0.1",
        "frictionloss": "0.1",
    }
    parts = [Part(base, (0, 0, 0)), Part(rocker, (0, 0, 0), hinge)]
    return articulated("Button1", parts, radius=0.04, bottom=0, top=0.0925, joints=None)


def pot() -> Any:
    """Placement believes it to be narrow and to reach 12 cm down, as in the published task."""
    slippery, floor = (0.005, 0.005, 0.0001), (0.0005, 0.005, 0.0001)
    geoms = [
        Geom((0.043, 0.053, 0.005), (0, 0, 0.0025), name="floor", friction=floor),
        *(Geom((0.057, 0.007, 0.035), (0, y, 0.0325), friction=slippery) for y in (-0.06, 0.06)),
        *(Geom((0.007, 0.053, 0.035), (x, 0, 0.0325), friction=slippery) for x in (-0.05, 0.05)),
        *(Geom((0.0275, 0.007, 0.01), (0, y, 0.077), friction=slippery) for y in (-0.06, 0.06)),
    ]
    joints = [{"type": "free", "name": "joint0", "damping": "0.0005"}]
    return composite("PotObject", upright(0.0212, 0.12), geoms, steel(), density=1000, joints=joints)


def bread() -> Any:
    return robosuite.models.objects.BoxObject(
        "cube_bread", size=[0.015, 0.025, 0.02], rgba=[1, 1, 1, 1], material=wood("Light"), density=500
    )


def serving_region() -> Any:
    plate = Geom((0.07, 0.10, 0.001), (0, 0, 0.022), rgba=RED, kind="visual")
    return articulated(
        "ServingRegionRed", [Part(composite("plate", (0.07, 0.1, 0.001), [plate]), (0, 0, 0))], 0.123, 0, 0.023, None
    )


def placed(
    bread_at: tuple[Range, Range, Range],
    pot_at: tuple[Range, Range, Range],
    pot_z: float,
    stove_at: tuple[Range, Range],
    button_at: tuple[Range, Range],
    region_y: Range,
) -> Variant:
    return Variant(
        {
            "cube_bread": Placement(*bread_at),
            "PotObject": Placement(*pot_at, z=pot_z),
            "Stove1": Placement(*stove_at, 0.0, z=SUNK),
            "Button1": Placement(*button_at, math.pi, z=SUNK),
            "ServingRegionRed": Placement(0.345, region_y, 0.0, z=FLAT),
        }
    )


class KitchenScene(Scene):
    layout = LAYOUTS["Kitchen_D0-v0"]
    model_varies = True  # stove, button and region stand fast
    table_size = (1.0, 0.8, 0.05)
    table_top = (-0.2, 0.0, 0.9)
    table_friction = (0.6, 0.005, 0.0001)
    variants = {
        "D0": placed(
            bread_at=((0.05, 0.08), (-0.18, -0.12), -math.pi / 2),
            pot_at=((0.175, 0.18), (-0.15, -0.13), (-0.1, 0.1)),
            pot_z=0.02,
            stove_at=(0.23, 0.095),
            button_at=(0.06, 0.10),
            region_y=-0.15,
        )
    }
    subtasks = (
        Subtask("Button1", "stove_on", (10, 20)),
        Subtask("PotObject", "grasp_pot", (10, 20)),
        Subtask("Stove1", "place_pot_on_stove", (10, 20)),
        Subtask("cube_bread", "grasp_bread", (10, 20)),
        Subtask("PotObject", "place_bread_in_pot", (10, 20)),
        Subtask("ServingRegionRed", "serve", (10, 20)),
        Subtask("Button1", None),
    )

    def make_objects(self) -> list[Any]:
        return [bread(), pot(), stove(), button(), serving_region()]

    def views(self) -> dict[str, tuple]:
        return TASK_ZOO_VIEWS

    # ---- what is and what was ---------------------------------------------------------------------------------------

    def stove_on(self) -> bool:
        return self.joint(BUTTON) >= ON

    def bread_in_pot(self) -> bool:
        return self.touching("cube_bread", "PotObject")

    def pot_on_stove(self) -> bool:
        return self.touching("PotObject_floor", BURNER)

    def served(self) -> bool:
        way = self.position("PotObject") - self.position("ServingRegionRed")
        return bool(np.all(np.abs(way) < SERVED))

    def cooked(self) -> bool:
        """At some earlier step."""
        return self.joint(COOKED) > 0.5

    def success(self) -> bool:
        return self.served() and not self.stove_on() and self.bread_in_pot() and self.cooked()

    def signals(self) -> dict[str, bool]:
        held = self.grasped("PotObject")
        return {
            "stove_on": self.stove_on(),
            "grasp_pot": held,
            "place_pot_on_stove": self.pot_on_stove() and not held,
            "grasp_bread": self.grasped("cube_bread"),
            "place_bread_in_pot": self.bread_in_pot() and held,
            "serve": self.served(),
        }

    def _pre_action(self, action: Any, policy_step: bool = False) -> None:
        if policy_step:  # as the last step left everything
            self.sim.data.set_joint_qpos(LAMP, LAMP_UP if self.stove_on() else 0.0)
            if self.stove_on() and self.bread_in_pot() and self.pot_on_stove():
                self.sim.data.set_joint_qpos(COOKED, 1.0)
        super()._pre_action(action, policy_step)

    def _reset_internal(self) -> None:
        super()._reset_internal()
        if not self.deterministic_reset:
            self.sim.data.set_joint_qpos(BUTTON, -BUTTON_RANGE)


class MovedKitchenScene(KitchenScene):
    layout = LAYOUTS["Kitchen_D1-v0"]
    variants = {
        "D1": placed(
            bread_at=((-0.2, 0.0), (-0.25, -0.05), (-math.pi / 2, math.pi / 2)),
            pot_at=((0.08, 0.18), (-0.2, -0.05), (-math.pi / 6, math.pi / 6)),
            pot_z=-0.11,
            stove_at=((0.06, 0.23), (0.095, 0.25)),
            button_at=((-0.2, 0.06), (0.05, 0.2)),
            region_y=(-0.2, -0.05),
        )
    }


class Kitchen_D0(MimicGen):
    """Bread cooked and served; stove, button and serving region do not move."""

    scene = KitchenScene


class Kitchen_D1(MimicGen):
    """Bread cooked and served, everything elsewhere."""

    scene = MovedKitchenScene
