"""The Gymnasium half of MimicGen's tasks."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from l1flow_agents.envs.mimicgen.scene import Scene
from l1flow_agents.envs.mimicgen.spec import Subtask
from l1flow_agents.envs.robosuite_env import RobosuiteEnv, Task
from l1flow_agents.envs.robosuite_internals import robosuite


class MimicGen(RobosuiteEnv):
    """A task of MimicGen's: `RobosuiteEnv`, and what making data by MimicGen's method needs to know.

    ``object`` is ordered as in MimicGen's data: for every object position (3), quaternion xyzw (4), and both in the
    gripper's frame (3, 4), unless the task says otherwise.

    ``subtasks`` are the pieces of a demonstration, in order, and ``choose_every_subtask`` whether each of them may come
    from another source. `object_poses` and `subtask_signals` are about the state that `get_state` returns.
    """

    scene: ClassVar[type[Scene]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass with a ``scene`` is the variant that its name ends in; robosuite knows it by the same name."""
        super().__init_subclass__(**kwargs)
        if "scene" not in vars(cls):  # a user's subclass of a variant is the same task
            return
        scene: Any = cls.scene
        name, variant = cls.__name__, cls.__name__.rpartition("_")[2]
        cls.task = Task(name, scene.layout, model_varies=scene.model_varies, extras=scene.extras)
        robosuite.environments.base.REGISTERED_ENVS[name] = partial(scene, variant)

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        return self.scene.subtasks

    @property
    def choose_every_subtask(self) -> bool:
        return self.scene.choose_every_subtask

    def object_poses(self) -> dict[str, np.ndarray]:
        """Where the objects of the subtasks are, name -> (4, 4) homogeneous matrix, world frame, metres."""
        inner = self.simulator
        return {one.object: inner.pose(one.object) for one in self.subtasks if one.object is not None}

    def subtask_signals(self) -> dict[str, bool]:
        """The end signals of the subtasks as they are now. A subtask ends when its signal changes."""
        return {name: bool(value) for name, value in self.simulator.signals().items()}
