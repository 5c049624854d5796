"""Pose targets whose rotation is six continuous numbers, the form that networks learn best."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from l1flow_agents.errors import ConfigError
from l1flow_agents.rotations import POSE, POSE_6D, pose_to_axis_angle


class Rotation6dAction(gym.ActionWrapper, RecordConstructorArgs):
    """Actions [position 3, rotation-6d 6, gripper 1] an arm, over an environment that takes absolute pose targets.

    The environment takes [position 3 in metres, axis-angle 3 in radians, gripper 1] an arm. Rotation-6d is
    the first two rows of the rotation matrix (Zhou et al. 2019, as in pytorch3d and Diffusion Policy); rows that are
    not orthonormal, as networks predict them, are made so by Gram-Schmidt. The axis-angle has an angle in [0, pi] and
    is not clipped. Bounds of position and gripper are the environment's, those of the rotation [-1, 1].

    Raises:
        ConfigError: the environment's action is not a box of shape (7 n,), or (when acting) a rotation's two rows are
            zero, parallel or not finite.

    Example:
        >>> env = Rotation6dAction(gym.make("Square-v0", control="absolute"))  # doctest: +SKIP
        >>> env.action_space.shape  # doctest: +SKIP
        (10,)
    """

    def __init__(self, env: gym.Env) -> None:
        space = env.action_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.shape[0] % POSE:
            raise ConfigError(
                f"Rotation6dAction: expected actions of shape (7 n,), [pose 6, gripper] an arm, got {space}"
            )
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        low, high = space.low.reshape(-1, POSE), space.high.reshape(-1, POSE)
        rotation = np.ones((len(low), 6))
        self.action_space = spaces.Box(
            np.hstack([low[:, :3], -rotation, low[:, 6:]]).ravel().astype(space.dtype),
            np.hstack([high[:, :3], rotation, high[:, 6:]]).ravel().astype(space.dtype),
            dtype=space.dtype.type,
        )

    def action(self, action: np.ndarray) -> np.ndarray:
        """(10 n,) -> the environment's (7 n,)."""
        arms = np.asarray(action, np.float64).reshape(-1, POSE_6D)
        first, second = arms[:, 3:6], arms[:, 6:9]
        # `not >` also refuses NaN
        a, b, area = (np.linalg.norm(vectors, axis=1) for vectors in (first, second, np.cross(first, second)))
        if not (area > 1e-8 * a * b).all():
            raise ConfigError(
                f"Rotation6dAction: expected two finite, independent rows a rotation, got {arms[:, 3:9].tolist()}"
            )
        return pose_to_axis_angle(arms.ravel()).astype(self.env.action_space.dtype)
