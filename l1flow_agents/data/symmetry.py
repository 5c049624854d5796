"""Symmetries of tasks: the mirror image of a demonstration is another demonstration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from l1flow_agents.data.chunks import Chunks
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS, Layout

if TYPE_CHECKING:
    from torch import Tensor, device, dtype

Numbers = TypeVar("Numbers", np.ndarray, "Tensor")
Map = Callable[[str, Numbers], Numbers]
"""Of a key and its values, (..., *shape); for a tensor, on whatever device, without a word to the host."""


@dataclass(frozen=True)
class Symmetry:
    """Maps of a task onto itself, each for itself, and the shapes of the observations and actions that they know."""

    maps: tuple[Map, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise a ConfigError where ``shapes`` (with that of "action") has something that the maps do not know."""
        for key, shape in shapes.items():
            if self.shapes.get(key) != shape:
                known = ", ".join(f"{name} {known}" for name, known in self.shapes.items())
                raise ConfigError(f"training: this symmetry is of {known}; got {key} {shape}")


def backwards(value: Numbers, axis: int = -1) -> Numbers:
    return np.flip(value, axis) if isinstance(value, np.ndarray) else value.flip(axis)


def like(constant: np.ndarray, value: Numbers) -> Numbers:
    """``constant`` where ``value`` is, whole numbers as they are and others with the dtype of a tensor ``value``."""
    if isinstance(value, np.ndarray):
        return constant
    return _on_device(tuple(constant.tolist()), value.device, value.dtype)


@cache
def _on_device(numbers: tuple[float, ...], place: device, wanted: dtype) -> Tensor:
    import torch

    whole = all(isinstance(number, int) for number in numbers)
    return torch.tensor(numbers, device=place, dtype=torch.int64 if whole else wanted)


WORLD = 512  # side of PushT's world, pixels
PUSHT = LAYOUTS["PushT-v0"]


def mirror_pusht(key: str, value: Numbers) -> Numbers:
    """PushT reflected about the axis of its mark, the line x + y = 512; walls, block and mark map onto themselves.

    The simulation commutes with it (tests/test_symmetry.py): (x, y) becomes (512 - y, 512 - x) and a block's angle
    pi/2 minus itself. ``value`` is (..., *shape) of observation ``key``, or (..., 2) actions.
    """
    if key == "image":
        return backwards(backwards(value.swapaxes(-3, -2), -3), -2)
    if key in ("agent_pos", ACTION):
        return WORLD - backwards(value)
    mirrored = value.copy() if isinstance(value, np.ndarray) else value.clone()
    for place in (PUSHT["agent_pos"], PUSHT["block_pos"]):
        mirrored[..., place] = WORLD - backwards(value[..., place])
    mirrored[..., PUSHT["block_angle"]] = (np.pi / 2 - value[..., PUSHT["block_angle"]]) % (2 * np.pi)
    return mirrored


FLIPPED = {3: [1], 4: [1, 3]}  # of a vector, of a quaternion: the numbers whose signs change in the mirror


def mirror_table(layout: Layout) -> Map:
    """A scene of one arm reflected at the plane y = 0 through the middle of arm and table, for delta actions.

    A vector (x, y, z) becomes (x, -y, z), a turn (a, b, c) becomes (-a, b, -c), and a quaternion xyzw (x, -y, z, -w):
    every object must look the same mirrored at its own plane y = 0, as hand, cube and nut do. ``layout``: of the
    observation ``object``.
    """
    flipped = {
        "robot0_eef_pos": FLIPPED[3],
        "robot0_eef_quat": FLIPPED[4],
        "robot0_gripper_qpos": [0, 1],  # and exchanged, below
        "object": [layout[part].start + i for part, size in layout.sizes.items() for i in FLIPPED[size]],
        ACTION: [1, 3, 5],
    }

    def mirror(key: str, value: Numbers) -> Numbers:
        signs = np.ones(value.shape[-1])
        signs[flipped[key]] = -1
        exchanged = backwards(value) if key == "robot0_gripper_qpos" else value
        result: Numbers = exchanged * like(signs, value)
        return result

    return mirror


def turn(quaternions: Sequence[slice], quarters: int) -> Map:
    """An object turned about its own z axis where that does not show, as a cube by a quarter.

    ``quaternions``: where its quaternions xyzw are in the observation ``object``.
    """
    cosine, sine = np.cos(quarters * np.pi / 4), np.sin(quarters * np.pi / 4)

    def turned(key: str, value: Numbers) -> Numbers:
        if key != "object":
            return value
        own, of_other, other = np.ones(value.shape[-1]), np.zeros(value.shape[-1]), np.arange(value.shape[-1])
        for part in quaternions:
            own[part], of_other[part] = cosine, sine * np.array([1, -1, 1, -1])
            other[part] = part.start + np.array([1, 0, 3, 2])
        return mixed(value, own, other, of_other)

    return turned


def places(layout: Layout) -> dict[str, list[int]]:
    """Observation -> where its positions in the world begin; ``layout``: of the observation ``object``."""
    return {"robot0_eef_pos": [0], "object": layout.starts(*(f"{name}_pos" for name in layout.objects))}


def mixed(value: Numbers, own: np.ndarray, other: np.ndarray, of_other: np.ndarray) -> Numbers:
    """Each number times its ``own`` factor, and added to it the number at ``other`` times its factor ``of_other``."""
    if isinstance(value, np.ndarray):  # as its own numbers are rounded
        own = own.astype(value.dtype)
    result: Numbers = value * like(own, value) + value[..., like(other, value)] * like(of_other, value)
    return result


def shift(layout: Layout, x: float, y: float) -> Map:
    """Hand and objects moved together over the table, metres; ``layout``: of the observation ``object``.

    The same delta actions lead to the same end there, but for an arm that reaches its limits.
    """
    starts = places(layout)

    def shifted(key: str, value: Numbers) -> Numbers:
        if key not in starts:
            return value
        by = np.zeros(value.shape[-1])
        for first in starts[key]:
            by[first : first + 2] = x, y
        result: Numbers = value + like(by, value)
        return result

    return shifted


BASE_X = -0.56  # metres: where the axis of the arm's first joint stands, at y = 0


def turn_scene(layout: Layout, degrees: float) -> Map:
    """Hand and objects turned together about the axis of the arm's first joint, for delta actions.

    As if that joint stood otherwise: the arm moves as before but for the posture that it prefers. ``layout``: of the
    observation ``object``.
    """
    angle = np.deg2rad(degrees)
    quaternions = layout.starts(*(name for name in layout.quaternions if "_to_" not in name))
    positions, rotations = places(layout), {"robot0_eef_quat": [0], "object": quaternions}
    vectors = {**positions, ACTION: [0, 3]}

    def turned(key: str, value: Numbers) -> Numbers:
        if key not in vectors and key not in rotations:
            return value
        size = value.shape[-1]
        own, of_other, other, by = np.ones(size), np.zeros(size), np.arange(size), np.zeros(size)
        for first in vectors.get(key, ()):
            xy = slice(first, first + 2)
            own[xy], of_other[xy], other[xy] = np.cos(angle), np.sin(angle) * np.array([-1, 1]), (first + 1, first)
        for first in positions.get(key, ()):
            by[first : first + 2] = BASE_X * (1 - np.cos(angle)), -BASE_X * np.sin(angle)
        for first in rotations.get(key, ()):
            part = slice(first, first + 4)
            own[part], of_other[part] = np.cos(angle / 2), np.sin(angle / 2) * np.array([-1, 1, 1, -1])
            other[part] = first + np.array([1, 0, 3, 2])
        if isinstance(value, np.ndarray):  # as its own numbers are rounded
            by = by.astype(value.dtype)
        result: Numbers = mixed(value, own, other, of_other) + like(by, value)
        return result

    return turned


def shifts(layout: Layout, *more: float) -> list[Map]:
    """Along x and along y by all sums of 3, 6 and -9 cm and ``more``, each taken or not: up to 9 cm and more."""
    return [shift(layout, *by) for d in (0.03, 0.06, -0.09, *more) for by in ((d, 0), (0, d))]


def one_after_another(*maps: Map) -> Map:
    """The maps as one."""

    def apply(key: str, value: Numbers) -> Numbers:
        for one in maps:
            value = one(key, value)
        return value

    return apply


def arm(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Shapes of state observations and actions of a task of one arm."""
    hand = {"robot0_eef_pos": (3,), "robot0_eef_quat": (4,), "robot0_gripper_qpos": (2,)}
    return {**hand, "object": (layout.dim,), ACTION: (7,)}


def cubes(layout: Layout) -> Symmetry:
    """The mirror image, and each cube turned by quarter turns."""
    quarters = (turn([layout[cube]], n) for cube in layout.quaternions for n in (1, 2))
    return Symmetry((mirror_table(layout), *quarters), arm(layout))


SQUARE = LAYOUTS["Square_D2-v0"]
SQUARE_TURNED = SQUARE | Layout(peg1_quat=4)
NEEDLE = LAYOUTS["Threading_D2-v0"]
PIECES = LAYOUTS["ThreePieceAssembly_D2-v0"]
SYMMETRIES = {
    "pusht": Symmetry((mirror_pusht,), {"image": (96, 96, 3), "agent_pos": (2,), "state": (PUSHT.dim,), ACTION: (2,)}),
    "square": Symmetry((mirror_table(SQUARE), *shifts(SQUARE)), arm(SQUARE)),
    "square_turned": Symmetry(
        # the peg looks the same, and is turned by 0 to 90 degrees again
        (one_after_another(mirror_table(SQUARE_TURNED), turn([SQUARE_TURNED["peg1_quat"]], 1)),),
        arm(SQUARE_TURNED),
    ),
    "stack": cubes(LAYOUTS["Stack_D1-v0"]),
    "stackthree": cubes(LAYOUTS["StackThree_D1-v0"]),
    "threading": Symmetry((*(turn_scene(NEEDLE, angle) for angle in (7, -14)), *shifts(NEEDLE)), arm(NEEDLE)),
    "threepieceassembly": Symmetry(
        (
            one_after_another(
                mirror_table(PIECES),
                # pieces look the same, and lie between 0 and 180 degrees again
                turn([PIECES[part] for part in PIECES.quaternions if part.startswith("piece_")], 2),
            ),
            *shifts(PIECES, 0.12, -0.12),
        ),
        arm(PIECES),
    ),
}


def mirrored_tensors(values: Mapping[str, Tensor], symmetry: str, rows: Tensor) -> dict[str, Tensor]:
    """`mirrored` for tensors (batch, steps, *shape) of observations and "action"; ``rows`` lie where they do."""
    result = dict(values)
    for apply, chosen in zip(SYMMETRIES[symmetry].maps, rows, strict=True):
        for key, value in result.items():
            result[key] = apply(key, value).where(chosen.view(-1, *[1] * (value.ndim - 1)), value)
    return result


def mirrored(chunks: Chunks, symmetry: str, rows: np.ndarray) -> Chunks:
    """``chunks`` with each map of the symmetry applied to the windows where its row of ``rows`` (maps, batch) is True.

    Where every entry of ``rows`` is True half of the time, all combinations of the maps are equally likely.
    """
    for apply, chosen in zip(SYMMETRIES[symmetry].maps, rows, strict=True):
        for key, value in [*chunks.observations.items(), (ACTION, chunks.actions)]:
            value[chosen] = apply(key, value[chosen])
    return chunks
