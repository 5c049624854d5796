"""What `RobosuiteEnv` takes from inside robosuite 1.5, past its public ``reset`` and ``step``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def _import_robosuite() -> Any:
    """Import robosuite without its log lines, and without depending on OpenGL or deciding about it."""
    logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
    # robosuite sets MUJOCO_GL, which would decide for `rendering` and for child processes, and asserts that
    # MUJOCO_EGL_DEVICE_ID is among CUDA_VISIBLE_DEVICES; only pictures need either
    with _restored("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID"):
        try:
            import mujoco  # noqa: F401
        except Exception:  # MUJOCO_GL names a back-end that is not there
            os.environ["MUJOCO_GL"] = "disable"
        os.environ.pop("MUJOCO_EGL_DEVICE_ID", None)
        import robosuite
    return robosuite


@contextmanager
def _restored(*names: str) -> Iterator[None]:
    """Environment variables that are afterwards what they were."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


robosuite = _import_robosuite()

PROPRIOCEPTION = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}


class Sensors:
    """Reads observations from a robosuite environment as its simulation is now. Another model needs new ones."""

    def __init__(self, inner: Any) -> None:
        observables = inner._observables
        self._arms = [
            (key, observables[key]._sensor)
            for key in (f"robot{arm}_{name}" for arm in range(len(inner.robots)) for name in PROPRIOCEPTION)
        ]
        objects = [(name, one) for name, one in observables.items() if one.modality == "object" and one.is_enabled()]
        self._objects = [(name, one._sensor) for name, one in objects]
        self._object_keys = [name for name, one in objects if one.is_active()]

    def read(self, objects: bool) -> dict[str, np.ndarray]:
        """Proprioception, and ``object`` if wanted; float32."""
        cache: dict[str, np.ndarray] = {}
        for key, sensor in self._arms:
            cache[key] = sensor(cache)
        observation = {key: np.asarray(cache[key], np.float32) for key, _ in self._arms}
        if objects:
            for _ in range(2):  # relative poses come before what they are computed from
                for key, sensor in self._objects:
                    cache[key] = sensor(cache)
            entries = [np.atleast_1d(cache[key]) for key in self._object_keys]
            observation["object"] = np.concatenate(entries).astype(np.float32)
        return observation


class ControlLoop:
    """A robosuite environment's ``step`` without the 50 observables that it evaluates after each of 25 substeps.

    Another model needs a new one.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._n_substeps = int(inner.control_timestep / inner.model_timestep)
        limits = inner.sim.model.actuator_ctrlrange
        self._actuators = [
            {part: (index, *limits[index].T) for part, index in robot._ref_actuators_indexes_dict.items()}
            for robot in inner.robots
        ]

    def step(self, action: np.ndarray) -> None:
        sim = self._inner.sim
        for substep in range(self._n_substeps):
            sim.step1()
            if substep == 0:
                self._inner._pre_action(action, policy_step=True)
            else:
                self._keep_going()
            sim.step2()
        sim.forward()  # bodies where the joints now are; changes no later state

    def _keep_going(self) -> None:
        """Torques towards the goals that are set: robosuite's ``_pre_action`` without what only a new action needs."""
        ctrl = self._inner.sim.data.ctrl
        for robot, actuators in zip(self._inner.robots, self._actuators, strict=True):
            for part, torques in robot.composite_controller.run_controller(robot._enabled_parts).items():
                index, low, high = actuators[part]
                ctrl[index] = np.clip(torques, low, high)
