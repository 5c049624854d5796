"""PickPlace: milk, bread, cereal and can, each into its quarter of the other bin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1flow_agents.envs.mimicgen.env import MimicGen
from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import NEAREST, Placement, Subtask, Variant
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import LAYOUTS

RELEASED = 0.6  # the gripper's closeness, 1 - tanh(10 distance), is less (farther than 42 mm)
HEIGHT = 0.1  # of an object's origin over the bin's, at most

TARGET_BIN = (0.1, 0.28, 0.8)
QUARTER = (0.195, 0.245)
# radius; which of the two quarters in x and in y
OBJECTS = {"Milk": (0.025, 0, 0), "Bread": (0.03, 1, 0), "Cereal": (0.04, 0, 1), "Can": (0.025, 1, 1)}
REACH = (0.145, 0.195)  # half the source bin, less its walls


def anywhere(radius: float) -> Placement:
    x, y = (half - radius for half in REACH)
    return Placement((-x, x), (-y, y), (0, math.pi / 2))


def moved(name: str, last: bool = False) -> tuple[Subtask, Subtask]:
    """The bins stand fast, so the second piece stays where it is."""
    low = name.lower()
    return Subtask(name, f"grasp_{low}", (10, 20), **NEAREST), Subtask(None, None if last else f"place_{low}")


class PickPlaceScene(Scene):
    layout = LAYOUTS["PickPlace_D0-v0"]
    table_size = (0.39, 0.49, 0.82)
    table_top = (0.1, -0.25, 0.8)  # the source bin's
    variants = {"D0": Variant({name: anywhere(radius) for name, (radius, _, _) in OBJECTS.items()})}
    subtasks = (*moved("Milk"), *moved("Cereal"), *moved("Bread"), *moved("Can", last=True))
    choose_every_subtask = True

    def make_arena(self) -> Any:
        arena = robosuite.models.arenas.BinsArena
        return arena(self.table_top, self.table_size, table_friction=self.table_friction)

    def make_objects(self) -> list[Any]:
        """Those to move, and pictures of them where they belong."""
        kinds, moving, pictures = robosuite.models.objects, [], []
        for name in OBJECTS:
            moving.append(getattr(kinds, f"{name}Object")(name))
            picture = getattr(kinds, f"{name}VisualObject")(f"Visual{name}")
            x, y = quarter(name) + np.array(QUARTER) / 2
            picture.get_obj().set("pos", f"{x} {y} {TARGET_BIN[2] - picture.bottom_offset[2]}")
            pictures.append(picture)
        return [*pictures, *moving]

    def base_position(self, offsets: dict[str, Any]) -> Any:
        return offsets["bins"]

    def views(self) -> dict[str, tuple]:
        return {}

    def in_quarter(self, name: str) -> bool:
        """Inside it, and let go."""
        position, low = self.position(name), quarter(name)
        inside = np.all(low < position[:2]) and np.all(position[:2] < low + QUARTER)
        distance = np.linalg.norm(self.eef_position() - position)
        low_enough = TARGET_BIN[2] < position[2] < TARGET_BIN[2] + HEIGHT
        return bool(inside and low_enough and 1 - np.tanh(10 * distance) < RELEASED)

    def success(self) -> bool:
        return all(map(self.in_quarter, OBJECTS))

    def signals(self) -> dict[str, bool]:
        tests = {"grasp": self.grasped, "place": self.in_quarter}
        names = [one.signal for one in self.subtasks if one.signal is not None]
        return {name: tests[verb](what.capitalize()) for name in names for verb, what in [name.split("_")]}


def quarter(name: str) -> np.ndarray:
    """Its corner of least x and y."""
    _, *which = OBJECTS[name]
    return np.array(TARGET_BIN[:2]) - [0 if one else size for one, size in zip(which, QUARTER, strict=True)]


class PickPlace_D0(MimicGen):
    """Four objects into their quarters of the bin."""

    scene = PickPlaceScene
