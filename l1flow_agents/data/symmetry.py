"""Symmetries of tasks: the mirror image of a demonstration is another demonstration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l1flow_agents.data.chunks import Chunks
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.errors import ConfigError

Map = Callable[[str, np.ndarray], np.ndarray]


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


WORLD = 512  # side of PushT's world, pixels


def mirror_pusht(key: str, value: np.ndarray) -> np.ndarray:
    """PushT reflected about the axis of its mark, the line x + y = 512; walls, block and mark map onto themselves.

    The simulation commutes with it (tests/test_symmetry.py): (x, y) becomes (512 - y, 512 - x) and a block's angle
    pi/2 minus itself. ``value`` is (..., *shape) of observation ``key``, or (..., 2) actions.
    """
    if key == "image":
        return np.swapaxes(value, -3, -2)[..., ::-1, ::-1, :]
    if key in ("agent_pos", ACTION):
        return WORLD - value[..., ::-1]
    mirrored = value.copy()  # state: agent x, y, block x, y, angle
    mirrored[..., 0:2] = WORLD - value[..., 1::-1]
    mirrored[..., 2:4] = WORLD - value[..., 3:1:-1]
    mirrored[..., 4] = (np.pi / 2 - value[..., 4]) % (2 * np.pi)
    return mirrored


def mirror_table(vectors: Sequence[int], quaternions: Sequence[int]) -> Map:
    """A scene of one arm reflected at the plane y = 0 through the middle of arm and table, for delta actions.

    A vector (x, y, z) becomes (x, -y, z), a turn (a, b, c) becomes (-a, b, -c), and a quaternion xyzw (x, -y, z, -w):
    every object must look the same mirrored at its own plane y = 0, as hand, cube and nut do. ``vectors`` and
    ``quaternions``: where they begin in the observation ``object``.
    """
    flipped = {
        "robot0_eef_pos": [1],
        "robot0_eef_quat": [1, 3],
        "robot0_gripper_qpos": [0, 1],  # and exchanged, below
        "object": [first + 1 for first in vectors] + [first + i for first in quaternions for i in (1, 3)],
        ACTION: [1, 3, 5],
    }

    def mirror(key: str, value: np.ndarray) -> np.ndarray:
        mirrored = value[..., ::-1].copy() if key == "robot0_gripper_qpos" else value.copy()
        mirrored[..., flipped[key]] *= -1
        return mirrored

    return mirror


def turn(firsts: Sequence[int], quarters: int) -> Map:
    """An object turned about its own z axis where that does not show, as a cube by a quarter.

    Its quaternions xyzw begin at ``firsts`` in the observation ``object``.
    """
    cosine, sines = np.cos(quarters * np.pi / 4), np.sin(quarters * np.pi / 4) * np.array([1, -1, 1, -1])

    def turned(key: str, value: np.ndarray) -> np.ndarray:
        if key != "object":
            return value
        result = value.copy()
        for first in firsts:
            quaternion = value[..., first : first + 4]
            result[..., first : first + 4] = cosine * quaternion + sines * quaternion[..., [1, 0, 3, 2]]
        return result

    return turned


def shift(vectors: Sequence[int], x: float, y: float) -> Map:
    """Hand and objects moved together over the table, metres; positions of objects begin at ``vectors`` in ``object``.

    The same delta actions lead to the same end there, but for an arm that reaches its limits.
    """
    by = np.array([x, y])

    def shifted(key: str, value: np.ndarray) -> np.ndarray:
        if key not in ("object", "robot0_eef_pos"):
            return value
        result = value.copy()
        for first in vectors if key == "object" else [0]:
            result[..., first : first + 2] += by
        return result

    return shifted


def shifts(vectors: Sequence[int], *more: float) -> list[Map]:
    """Along x and along y by all sums of 3, 6 and -9 cm and ``more``, each taken or not: up to 9 cm and more."""
    return [shift(vectors, *by) for d in (0.03, 0.06, -0.09, *more) for by in ((d, 0), (0, d))]


def one_after_another(*maps: Map) -> Map:
    """The maps as one."""

    def apply(key: str, value: np.ndarray) -> np.ndarray:
        for one in maps:
            value = one(key, value)
        return value

    return apply


def arm(object_dim: int) -> dict[str, tuple[int, ...]]:
    """Shapes of state observations and actions of a task of one arm."""
    hand = {"robot0_eef_pos": (3,), "robot0_eef_quat": (4,), "robot0_gripper_qpos": (2,)}
    return {**hand, "object": (object_dim,), ACTION: (7,)}


CUBES = (3, 10, 26)  # StackThree's quaternions
SYMMETRIES = {
    "pusht": Symmetry((mirror_pusht,), {"image": (96, 96, 3), "agent_pos": (2,), "state": (5,), ACTION: (2,)}),
    "square": Symmetry((mirror_table(vectors=(0, 7, 14), quaternions=(3, 10)), *shifts((0, 14))), arm(17)),
    "stackthree": Symmetry(
        (
            mirror_table(vectors=(0, 7, 14, 17, 20, 23, 30, 33, 36), quaternions=CUBES),
            *(turn([first], quarters) for first in CUBES for quarters in (1, 2)),
            *shifts((0, 7, 23)),
        ),
        arm(39),
    ),
    "threepieceassembly": Symmetry(
        (
            one_after_another(
                mirror_table(vectors=range(0, 42, 7), quaternions=range(3, 42, 7)),
                turn((17, 24, 31, 38), 2),  # pieces look the same, and lie between 0 and 180 degrees again
            ),
            *shifts((0, 14, 28), 0.12, -0.12),
        ),
        arm(42),
    ),
}


def mirrored(chunks: Chunks, symmetry: str, rows: np.ndarray) -> Chunks:
    """``chunks`` with each map of the symmetry applied to the windows where its row of ``rows`` (maps, batch) is True.

    Where every entry of ``rows`` is True half of the time, all combinations of the maps are equally likely.
    """
    for apply, chosen in zip(SYMMETRIES[symmetry].maps, rows, strict=True):
        for key, value in [*chunks.observations.items(), (ACTION, chunks.actions)]:
            value[chosen] = apply(key, value[chosen])
    return chunks
