"""Coffee: the pod into the machine's holder, then the lid shut."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.objects import Geom, Part, articulated, composite, tube, upright, weighing
from l1flow_agents.envs.mimicgen.scene import Observations, Scene
from l1flow_agents.envs.mimicgen.spec import Placement, Range, Subtask, Variant
from l1flow_agents.layouts import LAYOUTS

LID_SHUT, LID_OPEN = math.radians(15), 2 * math.pi / 3  # shut below the first; the hinge ends at the second

# radii and half heights, metres
HOLDER_R, HOLDER_H, BORE_R = 0.0295, 0.028, 0.025
POD_R, POD_H = 0.0243, 0.0231
LID_H = 0.0095

MACHINE_R, MACHINE_H = 0.158, 0.1105
HOLDER_AT = (0, 0.1061, 0.0635)  # in the machine, whose front is at +y
LID_AT = (0, 0.1045, 0.106)  # when shut
HINGE = (0, -0.044, 0)  # in the lid

BLACK, GREY, RED = (0.13, 0.13, 0.13, 1), (0.839, 0.839, 0.839, 1), (1, 0, 0, 1)
HARD = (0.998, 0.998, 0.001)  # solimp
STIFF: dict[str, Any] = {"friction": (0.95, 0.3, 0.1), "condim": 4, "solref": (0.001, 1), "solimp": HARD}


def pod() -> Any:
    """A cup that widens to its flange, as a stack of cylinders; mass 7 g."""
    profile = [(0.0207, -POD_H, -0.009), (0.0221, -0.009, 0.006), (0.0236, 0.006, 0.0202), (POD_R, 0.0202, POD_H)]
    contact = {**STIFF, "friction": (1, 1, 1), "rgba": GREY}
    slices = [Geom((r, (top - low) / 2), (0, 0, (top + low) / 2), "cylinder", **contact) for r, low, top in profile]
    return composite("coffee_pod", upright(POD_R, POD_H), weighing(0.007, slices))


def machine(drip_cup: bool = True, radius: float = MACHINE_R) -> Any:
    fixed = [*housing(), *(cup_on_plate() if drip_cup else [])]
    wall = tube(24, BORE_R, HOLDER_R, HOLDER_H, (0, 0, 0), condim=4, rgba=RED)
    floor = Geom((0.0272, 0.005), (0, 0, -0.021), "cylinder", condim=4, solimp=HARD, rgba=RED)
    lid = Geom((HOLDER_R, 0.044, LID_H), (0, 0, 0), **STIFF, rgba=GREY)
    hinge = {
        "name": "hinge",
        "type": "hinge",
        "axis": "1 0 0",
        "pos": " ".join(map(str, HINGE)),
        "range": f"0 {LID_OPEN}",
        "limited": "true",
        "damping": "0.005",
    }
    parts = [
        Part(composite("base", (0.0865, 0.1505, MACHINE_H), fixed), (0, 0, 0)),
        Part(composite("holder", (HOLDER_R, HOLDER_R, HOLDER_H), weighing(0.070, [*wall, floor])), HOLDER_AT),
        Part(composite("lid", (HOLDER_R, 0.044, LID_H), weighing(0.091, [lid])), LID_AT, hinge),
    ]
    return articulated("coffee_machine", parts, radius, -MACHINE_H, MACHINE_H)


def housing() -> list[Geom]:
    """Body, the plate that a cup stands on, and the arm that carries the holder."""
    plan = [(0.043, 0.1005), (0.059, 0.09), (0.080, 0.05), (0.0865, 0.02)]
    body = [Geom((x, y, 0.1), (0, -0.05, -0.0105), **STIFF, rgba=BLACK) for x, y in plan]
    body.append(Geom((0.029, 0.0915, 0.0105), (-0.001, -0.058, 0.1), **STIFF, rgba=BLACK))
    plate = [
        Geom((0.042, 0.03, 0.005), (0, 0.0805, -0.1055), **STIFF, rgba=BLACK, name="plate"),
        Geom((0.04, 0.005), (0, 0.1105, -0.1055), "cylinder", **STIFF, rgba=BLACK, name="plate_front"),
    ]
    arm = Geom((0.010, 0.01305, 0.005), (0, 0.06355, 0.0865), density=1000, rgba=GREY)
    return [*weighing(6.31, body), *weighing(0.076, plate), arm]


def cup_on_plate() -> list[Geom]:
    x, y, z = 0, HOLDER_AT[1], -0.0755
    wall = tube(16, 0.025, 0.03, 0.025, (x, y, z), condim=4, rgba=GREY)
    floor = Geom((0.025, 0.005), (x, y, z - 0.015), "cylinder", condim=4, solimp=HARD, rgba=GREY)
    turns = [math.radians(angle) for angle in (-72, -36, 0, 36, 72)]  # half a ring in the x-z plane
    handle = [
        Geom(
            (0.0025, 0.003, 0.004),
            (0.0307 + 0.0125 * math.cos(turn), y, z + 0.0125 * math.sin(turn)),
            quat=(math.cos(turn / 2), 0, -math.sin(turn / 2), 0),
            rgba=GREY,
        )
        for turn in turns
    ]
    return [*weighing(0.072, [*wall, floor]), *weighing(0.0015, handle)]


def placed(machine_at: tuple[Range, Range, Range], pod_x: Range, pod_y: Range) -> Variant:
    return Variant({"coffee_machine": Placement(*machine_at), "coffee_pod": Placement(pod_x, pod_y, 0.0)})


class CoffeeScene(Scene):
    layout = LAYOUTS["Coffee_D0-v0"]
    parts = {"coffee_pod_holder": "coffee_machine_holder_root", "coffee_machine_lid": "coffee_machine_lid_root"}
    variants = {
        "D0": placed((0.0, -0.1, -math.pi / 6), (-0.13, -0.07), (0.17, 0.23)),
        "D1": placed(((0.05, 0.15), (-0.2, -0.1), (-math.pi / 6, math.pi / 3)), (-0.2, 0.05), (0.17, 0.3)),
        "D2": placed(((-0.05, 0.05), (0.1, 0.2), (2 * math.pi / 3, 7 * math.pi / 6)), (-0.2, 0.05), (-0.3, -0.17)),
    }
    subtasks: ClassVar[tuple[Subtask, ...]] = (
        Subtask("coffee_pod", "grasp", (5, 10)),
        Subtask("coffee_machine", None),
    )
    start_angle = LID_OPEN

    def make_objects(self) -> list[Any]:
        return [machine(), pod()]

    def lid_angle(self) -> float:
        return self.joint("coffee_machine_hinge")

    def pod_in_holder(self) -> bool:
        """Inside its wall, between its floor and the lid wherever that is."""
        pod, holder, lid = map(self.position, ("coffee_pod", "coffee_pod_holder", "coffee_machine_lid"))
        inside = np.linalg.norm((pod - holder)[:2]) <= HOLDER_R - POD_R
        over_floor = pod[2] - POD_H >= holder[2] - HOLDER_H
        return bool(inside and over_floor and pod[2] + POD_H <= lid[2] - LID_H)

    def success(self) -> bool:
        return self.lid_angle() < LID_SHUT and self.pod_in_holder()

    def signals(self) -> dict[str, bool]:
        return {"grasp": self.grasped("coffee_pod")}

    def observations(self) -> Observations:
        return super().observations() | {"hinge_angle": self.lid_angle}

    def _reset_internal(self) -> None:
        super()._reset_internal()
        if not self.deterministic_reset:
            self.sim.data.set_joint_qpos("coffee_machine_hinge", self.start_angle)


class Coffee_D0(MimicGen):
    """Pod into the machine, which does not move."""

    scene = CoffeeScene


class Coffee_D1(MimicGen):
    """Pod into the machine, both anywhere on their sides of the table, the machine turned."""

    scene = CoffeeScene


class Coffee_D2(MimicGen):
    """Pod into the machine, the sides changed."""

    scene = CoffeeScene
