"""Objects of MuJoCo's primitives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l1flow_agents.envs.robosuite_internals import robosuite

CustomMaterial = robosuite.utils.mjcf_utils.CustomMaterial
Vector = Sequence[float]


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


def cells(unit: float, half_size: Vector, *ranges: tuple[int, int]) -> Geom:
    """A box that fills cells ``ranges`` (first, past the last; x, y, z) of a grid over a box of ``half_size``."""
    size = [unit * (stop - start) / 2 for start, stop in ranges]
    pos = [unit * (start + stop) / 2 - half for (start, stop), half in zip(ranges, half_size, strict=True)]
    return Geom(size, pos)


def composite(
    name: str, half_size: Vector, geoms: Sequence[Geom], material: Any, density: float = 100.0, **kwargs: Any
) -> Any:
    """A body of several geoms. Placement takes its radius and height from ``half_size``, that of its bounding box.

    ``kwargs`` go to robosuite's ``CompositeObject``: ``joints=None`` for one that stands fast, ``solref``, ``solimp``.
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
        geom_materials=[one.name for one in materials],
        geom_rgbas=[[1, 1, 1, 1]] * len(geoms),
        density=[density if one.density is None else one.density for one in geoms],
        **kwargs,
    )
    for one in {one.name: one for one in materials}.values():
        made.append_material(one)
    return made
