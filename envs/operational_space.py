"""The arithmetic of operational space control, compiled by numba, which robosuite needs as well.

Alone in its file, as numba compiles anew when the file changes. It keeps the machine code in ``__pycache__``, or, where
that cannot be written, in the user's cache folder; it writes there by renaming, so processes may start together.
"""

from __future__ import annotations

import numba
import numpy as np

POSTURE_GAIN = 10


@numba.njit(cache=True)
def operational_space(
    columns: np.ndarray,
    block: np.ndarray,
    goal_pos: np.ndarray,
    goal_matrix: np.ndarray,
    pos: np.ndarray,
    matrix: np.ndarray,
    velocity: np.ndarray,
    stiffness: np.ndarray,
    damping: np.ndarray,
    posture: np.ndarray,
    joint_pos: np.ndarray,
    joint_vel: np.ndarray,
    jacobian: np.ndarray,
    acceleration: np.ndarray,
    linear_inertia: np.ndarray,
    angular_inertia: np.ndarray,
    posture_torques: np.ndarray,
) -> None:
    """What the torques of an arm with n joints are made of (Khatib 1987), all float64.

    The operations are those that robosuite has compiled by numba, in its order and on arrays of its layout, hence with
    its bits; what it leaves to numpy, whose BLAS is another one than numba's, is left to numpy: see `_Arm.push`.

    Args:
        columns: (6, n) the arm's part of the Jacobian of its hand; block: (n, n) that of the mass matrix.
        goal_pos, goal_matrix, pos, matrix: (3,), (3, 3) where the hand shall be and is; velocity: (6,) how it moves.
        stiffness, damping: (6,) gains; posture, joint_pos, joint_vel: (n,) where the joints rest and are.
        jacobian: written, ``columns`` in one piece.
        acceleration: written, (6,) wanted of the hand.
        linear_inertia, angular_inertia: written, (3, 3), as if the hand could only move and only turn.
        posture_torques: written, (n,), towards the posture, as far as that does not move the hand.
    """
    n_joints = len(joint_pos)
    jacobian[:] = columns
    linear, angular = jacobian[:3], jacobian[3:]
    mass_matrix = np.empty((n_joints, n_joints)).T  # column by column, as robosuite's
    mass_matrix[:] = block

    acceleration[:3] = goal_pos - pos
    turns = np.cross(matrix[:, 0], goal_matrix[:, 0]) + np.cross(matrix[:, 1], goal_matrix[:, 1])
    acceleration[3:] = 0.5 * (turns + np.cross(matrix[:, 2], goal_matrix[:, 2]))
    acceleration[:] = acceleration * stiffness - velocity * damping

    mobility = np.linalg.inv(mass_matrix)
    inertia = np.linalg.pinv(np.dot(np.dot(jacobian, mobility), jacobian.T))
    linear_inertia[:] = np.linalg.pinv(np.dot(np.dot(linear, mobility), linear.T))
    angular_inertia[:] = np.linalg.pinv(np.dot(np.dot(angular, mobility), angular.T))
    moved = np.dot(np.dot(np.dot(mobility, jacobian.T), inertia), jacobian)
    wanted = POSTURE_GAIN * (posture - joint_pos) - np.sqrt(POSTURE_GAIN) * 2 * joint_vel
    posture_torques[:] = np.dot((np.eye(n_joints) - moved).T, np.dot(mass_matrix, wanted))
