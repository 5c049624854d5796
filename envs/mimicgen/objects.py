"""Objects of MuJoCo's primitives."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from l1flow_agents.envs.robosuite_internals import robosuite

CustomMaterial = robosuite.utils.mjcf_utils.CustomMaterial
Vector = Sequence[float]
SOLREF, SOLIMP = (0.02, 1.0), (0.9, 0.95, 0.001)  # MuJoCo's defaults


def wood(colour: str) -> Any:
    """robosuite's texture ``WoodRed``, ``WoodGreen``, ``WoodBlue``, ``WoodLight`` or ``WoodDark``."""
    return CustomMaterial(
        texture=f"Wood{colour}",
        tex_name=f"{colour.lower()}wood",
        mat_name=f"{colour.lower()}wood_mat",
        tex_attrib={"type": "cube"},
        mat_attrib={"texrepeat": "1 1", "specular": "0.4", "shininess": "0.1"},
    )


@dataclass(frozen=True)
class Geom:
    """One primitive; sizes as MuJoCo's (half extents; radius, half length). None: the object's, or MuJoCo's default."""

    size: Vector
    pos: Vector
    type: str = "box"
    name: str | None = None
    quat: Vector | None = None  # wxyz
    friction: Vector | None = None
    condim: int | None = None
    density: float | None = None
    material: Any = None
    rgba: Vector = (1, 1, 1, 1)
    solref: Vector | None = None
    solimp: Vector | None = None
    kind: str = "all"  # or ``collision``: not seen; ``visual``: not felt

    def scaled(self, scale: float) -> Geom:
        return replace(self, size=[scale * one for one in self.size], pos=[scale * one for one in self.pos])

    @property
    def volume(self) -> float:
        if self.type == "box":
            return 8 * math.prod(self.size)
        radius, half_length = self.size
        return 2 * math.pi * radius**2 * half_length + (4 / 3 * math.pi * radius**3 if self.type == "capsule" else 0)


def weighing(mass: float, geoms: Sequence[Geom]) -> list[Geom]:
    """The geoms with the density that makes them weigh ``mass`` together. They may overlap."""
    density = mass / sum(one.volume for one in geoms)
    return [replace(one, density=density) for one in geoms]


def tube(n_sides: int, inner: float, outer: float, half_height: float, centre: Vector, **kwargs: Any) -> list[Geom]:
    """Boxes about a vertical axis; their inner faces touch a circle of radius ``inner``. ``kwargs``: `Geom`'s."""
    middle, step = (inner + outer) / 2, 2 * math.pi / n_sides
    size = ((outer - inner) / 2, middle * math.tan(step / 2), half_height)
    x, y, z = centre
    return [
        Geom(
            size,
            (x + middle * math.cos(turn), y + middle * math.sin(turn), z),
            quat=(math.cos(turn / 2), 0, 0, math.sin(turn / 2)),
            **kwargs,
        )
        for turn in (index * step for index in range(n_sides))
    ]


def cells(unit: float, half_size: Vector, *ranges: tuple[int, int]) -> Geom:
    """A box that fills cells ``ranges`` (first, past the last; x, y, z) of a grid over a box of ``half_size``."""
    size = [unit * (stop - start) / 2 for start, stop in ranges]
    pos = [unit * (start + stop) / 2 - half for (start, stop), half in zip(ranges, half_size, strict=True)]
    return Geom(size, pos)


def composite(
    name: str, half_size: Vector, geoms: Sequence[Geom], material: Any = None, density: float = 100.0, **kwargs: Any
) -> Any:
    """A body of several geoms. Placement takes its radius and height from ``half_size``, that of its bounding box.

    ``kwargs`` go to robosuite's ``CompositeObject``: ``joints=None`` for one that stands fast.
    """
    materials = [material if one.material is None else one.material for one in geoms]
    made = robosuite.models.objects.CompositeObject(
        name=name,
        total_size=half_size,
        locations_relative_to_center=True,
        geom_types=[one.type for one in geoms],
        geom_sizes=[list(one.size) for one in geoms],
        geom_locations=[list(one.pos) for one in geoms],
        geom_names=[one.name for one in geoms],
        geom_quats=[one.quat for one in geoms],
        geom_frictions=[one.friction for one in geoms],
        geom_condims=[one.condim for one in geoms],
        geom_materials=[one and one.name for one in materials],
        geom_rgbas=[list(one.rgba) for one in geoms],
        density=[density if one.density is None else one.density for one in geoms],
        solref=[list(one.solref or SOLREF) for one in geoms],
        solimp=[list(one.solimp or SOLIMP) for one in geoms],
        obj_types=[one.kind for one in geoms],
        **kwargs,
    )
    for one in {one.name: one for one in materials if one}.values():
        made.append_material(one)
    return made


def weigh(model: Any, mass: float, inertia: Vector, pos: Vector, quat: Vector = (1, 0, 0, 0)) -> None:
    """Give a `composite` this inertia (diagonal; about ``pos``, in axes ``quat``), whatever its geoms weigh."""
    values = {"pos": pos, "quat": quat, "diaginertia": inertia}
    texts = {key: " ".join(map(str, value)) for key, value in values.items()}
    model.get_obj().insert(0, ET.Element("inertial", {"mass": str(mass), **texts}))


def upright(radius: float, half_height: float) -> tuple[float, float, float]:
    """A ``half_size`` for `composite` that makes placement take this radius."""
    return radius / math.sqrt(2), radius / math.sqrt(2), half_height


@dataclass(frozen=True)
class Part:
    """A body of an `articulated` object: a `composite`, where it is, and the joint it moves by (None: none)."""

    model: Any
    pos: Vector
    joint: dict[str, str] | None = None


def articulated(
    name: str, parts: Sequence[Part], radius: float, bottom: float, top: float, joints: Any = "default"
) -> Any:
    """Bodies in one: ``<name>_<part>_root``. ``radius``, ``bottom`` and ``top`` are what placement believes."""
    made = robosuite.models.objects.CompositeBodyObject(
        name=name,
        objects=[one.model for one in parts],
        object_locations=[list(one.pos) for one in parts],
        body_joints={one.model.root_body: [one.joint] for one in parts if one.joint},
        joints=joints,
    )
    made._horizontal, made._bottom, made._top = radius, bottom, top
    return made
