"""Symmetries of tasks: the mirror image of a demonstration is another demonstration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l1flow_agents.data.chunks import Chunks
from l1flow_agents.data.normalizer import ACTION

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


SYMMETRIES: dict[str, Callable[[str, np.ndarray], np.ndarray]] = {"pusht": mirror_pusht}


def mirrored(chunks: Chunks, symmetry: str, rows: np.ndarray) -> Chunks:
    """``chunks`` with the windows where ``rows`` (batch,) is True replaced by their mirror images."""
    reflect = SYMMETRIES[symmetry]
    for key, value in [*chunks.observations.items(), (ACTION, chunks.actions)]:
        value[rows] = reflect(key, value[rows])
    return chunks
