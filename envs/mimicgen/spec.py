"""What a task says about itself, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

Range = float | tuple[float, float]  # a fixed number, or uniform between two


def draw(rng: np.random.Generator, values: Range) -> float:
    return rng.uniform(*values) if isinstance(values, tuple) else values


@dataclass(frozen=True)
class Placement:
    """Where an object starts: about the middle of the table's top, metres and radians.

    ``z`` is the gap to the table below the object's lowest point.
    """

    x: Range
    y: Range
    yaw: Range
    z: float = 0.0
    axis: str = "z"  # of the rotation


@dataclass(frozen=True)
class Variant:
    """One reset distribution. Objects are placed in the order of ``placements``, clear of those before them."""

    placements: dict[str, Placement]
    full_view: bool = False  # ``agentview`` is the camera that sees the whole table


@dataclass(frozen=True)
class Subtask:
    """A piece of a demonstration that moves with one object.

    Args:
        object: a key of `MimicGen.object_poses`; None: the piece stays where it is in the world.
        signal: a key of `MimicGen.subtask_signals` that changes when the piece ends; None: it ends with the episode.
        offset: steps added to that end, drawn uniformly, both ends included.
        choice: of the source: a key of `generation.segments.CHOICES`.
        choice_kwargs: its settings.
        turns: the piece turns with the object; False: it only goes along.
        near: metres; the piece begins where the hand comes so close to the object, and the way there is a straight
            line from wherever the hand is. None: all of it is followed, as MimicGen does.
        carries: the object in the hand, which then goes the source's way to the subtask's object, however it was
            grasped. None: the hand goes that way, as MimicGen does.
    """

    object: str | None
    signal: str | None
    offset: tuple[int, int] = (0, 0)
    choice: str = "random"
    choice_kwargs: tuple[tuple[str, Any], ...] = ()
    turns: bool = True
    near: float | None = None
    carries: str | None = None


class Choice(TypedDict):
    choice: str
    choice_kwargs: tuple[tuple[str, Any], ...]


NEAREST: Choice = {"choice": "nearest_object", "choice_kwargs": (("k", 3),)}
