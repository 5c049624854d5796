"""Forms of a rotation, turned into each other.

Arrays are (..., k) or (..., 3, 3), computed and returned as float64. A matrix R maps column vectors, ``v -> R v``;
quaternions are xyzw; an axis-angle is the axis times the angle in radians; the 6d form (Zhou et al. 2019) is the first
two *rows* of the matrix, as in pytorch3d, robomimic and Diffusion Policy (elsewhere it is two columns).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def matrix_to_rotation_6d(matrix: ArrayLike) -> np.ndarray:
    """(..., 3, 3) -> (..., 6)."""
    matrix = np.asarray(matrix, np.float64)
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def rotation_6d_to_matrix(rotation_6d: ArrayLike) -> np.ndarray:
    """(..., 6) -> (..., 3, 3) by Gram-Schmidt; the two vectors may have any length but must not be parallel."""
    rotation_6d = np.asarray(rotation_6d, np.float64)
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    first = _unit(first)
    second = _unit(second - (first * second).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-2)


def axis_angle_to_matrix(axis_angle: ArrayLike) -> np.ndarray:
    """(..., 3) -> (..., 3, 3)."""
    axis_angle = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    vector = axis_angle * np.sinc(angle / (2 * np.pi)) / 2  # axis * sin(angle / 2), also at angle 0
    return quaternion_to_matrix(np.concatenate([vector, np.cos(angle / 2)], axis=-1))


def matrix_to_axis_angle(matrix: ArrayLike) -> np.ndarray:
    """(..., 3, 3) -> (..., 3), of an angle in [0, pi]."""
    quaternion = matrix_to_quaternion(matrix)
    vector, w = quaternion[..., :3], quaternion[..., 3:]
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    near_zero = length < 1e-12  # there angle / sin(angle / 2) is 2
    scale = np.where(near_zero, 2.0, 2 * np.arctan2(length, w) / np.where(near_zero, 1.0, length))
    return np.asarray(vector * scale)


def quaternion_to_matrix(quaternion: ArrayLike) -> np.ndarray:
    """(..., 4) xyzw of any length but 0 -> (..., 3, 3)."""
    x, y, z, w = np.moveaxis(_unit(np.asarray(quaternion, np.float64)), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(matrix: ArrayLike) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) xyzw of length 1 with w >= 0."""
    matrix = np.asarray(matrix, np.float64)
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = np.moveaxis(matrix, (-2, -1), (0, 1))
    # 4 q q^T: each row is a multiple of q, and the one with the largest diagonal entry loses no digits.
    rows = [
        [1 + m00 - m11 - m22, m10 + m01, m20 + m02, m21 - m12],
        [m10 + m01, 1 - m00 + m11 - m22, m21 + m12, m02 - m20],
        [m20 + m02, m21 + m12, 1 - m00 - m11 + m22, m10 - m01],
        [m21 - m12, m02 - m20, m10 - m01, 1 + m00 + m11 + m22],
    ]
    products = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    best = np.argmax(np.diagonal(products, axis1=-2, axis2=-1), axis=-1)
    quaternion = _unit(np.take_along_axis(products, best[..., None, None], axis=-2)[..., 0, :])
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


# ---- pose actions: [position 3, rotation, gripper 1] an arm, the arms side by side --------------------------------

POSE, POSE_6D = 7, 10  # numbers an arm with an axis-angle, with a rotation-6d
POSITION_SCALE, ROTATION_SCALE = 0.05, 0.5  # metres and radians of a delta action of 1


def pose_to_axis_angle(actions: ArrayLike) -> np.ndarray:
    """(..., 10 n) with rotation-6d -> (..., 7 n) with axis-angle."""
    actions = np.asarray(actions, np.float64)
    arms = actions.reshape(*actions.shape[:-1], -1, POSE_6D)
    rotations = matrix_to_axis_angle(rotation_6d_to_matrix(arms[..., 3:9]))
    return _side_by_side(arms[..., :3], rotations, arms[..., 9:])


def pose_to_rotation_6d(actions: ArrayLike) -> np.ndarray:
    """(..., 7 n) with axis-angle -> (..., 10 n) with rotation-6d."""
    actions = np.asarray(actions, np.float64)
    arms = actions.reshape(*actions.shape[:-1], -1, POSE)
    rotations = matrix_to_rotation_6d(axis_angle_to_matrix(arms[..., 3:6]))
    return _side_by_side(arms[..., :3], rotations, arms[..., 6:])


def _side_by_side(positions: np.ndarray, rotations: np.ndarray, grippers: np.ndarray) -> np.ndarray:
    """(..., arms, n) three times -> (..., arms * all n)."""
    arms = np.concatenate([positions, rotations, grippers], axis=-1)
    return np.reshape(arms, (*arms.shape[:-2], -1))


def homogeneous(rotation: ArrayLike, position: ArrayLike) -> np.ndarray:
    """(3, 3) and (3,) -> (4, 4), the matrix of a pose."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
