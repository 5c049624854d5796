"""Symmetries of tasks: the mirror image of a demonstration is another demonstration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from l1flow_agents.data.chunks import Chunks
from l1flow_agents.data.normalizer import ACTION

Symmetry = Callable[[str, np.ndarray], np.ndarray]
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


def mirror_table(vectors: Sequence[int], quaternions: Sequence[int]) -> Symmetry:
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


def turn_cube(first: int, quarters: int) -> Symmetry:
    """A cube turned about its own z axis, which does not show. Its quaternion xyzw is at ``first`` in ``object``."""
    cosine, sines = np.cos(quarters * np.pi / 4), np.sin(quarters * np.pi / 4) * np.array([1, -1, 1, -1])
    part = slice(first, first + 4)

    def turn(key: str, value: np.ndarray) -> np.ndarray:
        if key != "object":
            return value
        turned, quaternion = value.copy(), value[..., part]
        turned[..., part] = cosine * quaternion + sines * quaternion[..., [1, 0, 3, 2]]
        return turned

    return turn


CUBES = (3, 10, 26)  # StackThree's quaternions
SYMMETRIES: dict[str, tuple[Symmetry, ...]] = {
    "pusht": (mirror_pusht,),
    "square": (mirror_table(vectors=(0, 7, 14), quaternions=(3, 10)),),
    "stackthree": (
        mirror_table(vectors=(0, 7, 14, 17, 20, 23, 30, 33, 36), quaternions=CUBES),
        *(turn_cube(first, quarters) for first in CUBES for quarters in (1, 2)),
    ),
}


def mirrored(chunks: Chunks, symmetry: str, rows: np.ndarray) -> Chunks:
    """``chunks`` with each map of the symmetry applied to the windows where its row of ``rows`` (maps, batch) is True.

    Where every entry of ``rows`` is True half of the time, all combinations of the maps are equally likely.
    """
    for apply, chosen in zip(SYMMETRIES[symmetry], rows, strict=True):
        for key, value in [*chunks.observations.items(), (ACTION, chunks.actions)]:
            value[chosen] = apply(key, value[chosen])
    return chunks
