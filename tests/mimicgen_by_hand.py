"""MimicGen's tasks with their objects put by hand, for `test_mimicgen.py` and `test_mimicgen_success.py`."""

from __future__ import annotations

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation
from simulators import env_of

MM = 0.001
OPEN = 0.04  # a finger's way from the middle


def up(height: float) -> np.ndarray:
    return np.array([0.0, 0.0, height])


class Hand:
    """Puts the objects of a fresh episode by hand. ``fingers`` None: as the episode has them."""

    def __init__(self, env_id: str, seed: int = 0, fingers: float | None = OPEN) -> None:
        env_of(env_id).reset(seed=seed)
        self.env = env_of(env_id).unwrapped
        self.inner = self.env.simulator
        self.data, self.model = self.inner.sim.data._data, self.inner.sim.model._model
        if fingers is not None:
            self.fingers(fingers)

    def put(self, name: str, position, rotation: Rotation | None = None) -> None:
        xyzw = (rotation or Rotation.identity()).as_quat()
        joint = self.inner.objects[name].joints[0]
        self.inner.sim.data.set_joint_qpos(joint, [*position, *np.roll(xyzw, 1)])
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def turn(self, joint: str, value: float) -> None:
        """A hinge or slide."""
        self.data.joint(joint).qpos[0] = value
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def grip_at(self, position) -> None:
        """Where the gripper seems to be, until the next step."""
        self.data.site_xpos[self.inner.robots[0].eef_site_id["right"]] = position

    def fingers(self, left: float, right: float | None = None) -> None:
        self.data.joint("gripper0_right_finger_joint1").qpos[0] = left
        self.data.joint("gripper0_right_finger_joint2").qpos[0] = -(left if right is None else right)
        mujoco.mj_forward(self.model, self.data)

    @property
    def grip(self) -> np.ndarray:
        return self.inner.eef_position()

    @property
    def level(self) -> Rotation:
        """An object's rotation with z up and the fingers closing along its x."""
        site = self.data.site_xmat[self.inner.robots[0].eef_site_id["right"]].reshape(3, 3)
        return Rotation.from_matrix(site @ np.diag([1, -1, -1]))

    def solved(self) -> bool:
        return self.env.is_success()

    def overlap(self, margin: float = MM / 2) -> list[tuple[str, str]]:
        """Geoms that are inside each other by more than ``margin``."""
        contacts = [one for one in self.data.contact if one.dist < -margin]
        return [tuple(self.model.geom(index).name for index in one.geom) for one in contacts]

    def rest(self, n_steps: int = 15) -> None:
        for _ in range(n_steps):
            self.env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
