"""The geometry of MimicGen's method. Poses are homogeneous matrices (..., 4, 4), world frame, metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1flow_agents.rotations import (
    POSITION_SCALE,
    ROTATION_SCALE,
    axis_angle_to_matrix,
    homogeneous,
    matrix_to_axis_angle,
)

SAME_TURN = 0.05  # radians: less is not worth interpolating
TURNED = 0.1  # radians: what is held has its last turn


@dataclass(frozen=True)
class Segment:
    """Steps of a source that move with one object.

    ``start`` (4, 4): where the hand was before its first step; ``targets`` (T, 4, 4): where each action sends it;
    ``gripper`` (T,): its command; ``reference`` (4, 4): the object at the first step, identity for the world;
    ``references`` (k, 4, 4): then, those of all subtasks; ``held`` (4, 4): then, what the hand carries, in its frame.
    """

    start: np.ndarray
    targets: np.ndarray
    gripper: np.ndarray
    reference: np.ndarray
    references: np.ndarray
    held: np.ndarray | None = None

    def moved_to(self, reference: np.ndarray) -> Segment:
        """The segment as seen from its object, which now is at ``reference``: every pose T becomes O' O^-1 T."""
        move = reference @ inverse(self.reference)
        return replace(self, start=move @ self.start, targets=move @ self.targets, reference=reference)

    def holding(self, held: np.ndarray) -> Segment:
        """For a hand that now carries it at ``held`` (4, 4): the object goes the same way, H' held' = H held."""
        assert self.held is not None
        grip = self.held @ inverse(held)
        return replace(self, start=self.start @ grip, targets=self.targets @ grip, held=held)

    def from_within(self, near: float) -> Segment:
        """Without the way to the object: from the first step that leads closer than ``near`` metres to it.

        With something in the hand, from the first of these at which it also has been turned as it will be put down: a
        source that came from nearby turns late, and whoever follows it turns away first.
        """
        away = np.linalg.norm((self.targets - self.reference)[:, :3, 3], axis=-1)
        first = int((away < near).argmax())  # 0 where none does
        if self.held is not None:
            first += int((angle(self.targets[first:], self.targets[-1]) < TURNED).argmax())
        start = self.targets[first - 1] if first else self.start
        return replace(self, start=start, targets=self.targets[first:], gripper=self.gripper[first:])


def action_target(pose: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Where the delta actions (..., >=6) send the hand from ``pose`` (..., 4, 4)."""
    target = pose.copy()
    target[..., :3, 3] += POSITION_SCALE * action[..., :3]
    target[..., :3, :3] = axis_angle_to_matrix(ROTATION_SCALE * action[..., 3:6]) @ pose[..., :3, :3]
    return target


def action_towards(target: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The six numbers in [-1, 1] that send the hand from ``pose`` to ``target``, or as far as one step gets."""
    turn = matrix_to_axis_angle(target[:3, :3] @ pose[:3, :3].T)
    return np.clip([*(target - pose)[:3, 3] / POSITION_SCALE, *turn / ROTATION_SCALE], -1, 1)


def interpolate(first: np.ndarray, last: np.ndarray, at_least: int, pace: tuple[float, float]) -> np.ndarray:
    """Poses (n, 4, 4) between the two, both ends excluded: a straight line, and a turn about one axis.

    ``at_least`` so many, and so many that no step is longer than ``pace``, metres and radians.
    """
    turn = matrix_to_axis_angle(last[:3, :3] @ first[:3, :3].T)
    moved, turned = np.linalg.norm((last - first)[:3, 3]), np.linalg.norm(turn)
    n = max(at_least, int(np.ceil(max(moved / pace[0], turned / pace[1]))) - 1)
    parts = np.arange(1, n + 1) / (n + 1)
    poses = np.tile(last, (n, 1, 1))
    poses[:, :3, 3] = first[:3, 3] + parts[:, None] * (last - first)[:3, 3]
    if turned >= SAME_TURN:
        poses[:, :3, :3] = axis_angle_to_matrix(parts[:, None] * turn) @ first[:3, :3]
    return poses


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Metres between the positions plus radians between the orientations."""
    return float(np.linalg.norm((one - other)[:3, 3]) + angle(one, other))


def angle(poses: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Radians between the orientations of ``poses`` (..., 4, 4) and of ``other`` (4, 4)."""
    return np.asarray(np.linalg.norm(matrix_to_axis_angle(poses[..., :3, :3] @ other[:3, :3].T), axis=-1))


def inverse(pose: np.ndarray) -> np.ndarray:
    back = pose[:3, :3].T
    return homogeneous(back, -back @ pose[:3, 3])


def cut(signal: np.ndarray, first: int) -> int | None:
    """The end (exclusive) of a segment: after the first step, not before ``first``, at which ``signal`` changed."""
    changes = np.flatnonzero(signal[1:] != signal[:-1]) + 1
    later = changes[changes >= first]
    return int(later[0]) + 1 if len(later) else None


# ---- which source ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """Where a subtask begins: its ``reference`` (4, 4), the ``hand`` (4, 4), and all subtasks' ``references``."""

    reference: np.ndarray
    hand: np.ndarray
    references: np.ndarray


def choose_random(segments: Sequence[Segment], now: Situation, k: int = 0) -> np.ndarray:
    return np.arange(len(segments))


def choose_nearest_object(segments: Sequence[Segment], now: Situation, k: int = 3) -> np.ndarray:
    return np.argsort([distance(one.reference, now.reference) for one in segments])[:k]


def choose_nearest_objects(segments: Sequence[Segment], now: Situation, k: int = 3) -> np.ndarray:
    """By the objects of all subtasks, since the hand must also suit those of later ones."""
    far = [sum(map(distance, one.references, now.references)) for one in segments]
    return np.argsort(far)[:k]


def choose_nearest_robot(segments: Sequence[Segment], now: Situation, k: int = 3) -> np.ndarray:
    return np.argsort([distance(one.moved_to(now.reference).start, now.hand) for one in segments])[:k]


CHOICES = {
    "random": choose_random,
    "nearest_object": choose_nearest_object,
    "nearest_objects": choose_nearest_objects,
    "nearest_robot": choose_nearest_robot,
}
