"""What `RobosuiteEnv` takes from inside robosuite 1.5, past its public ``reset`` and ``step``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
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
    """Reads observations from a robosuite environment as its simulation is now. Another model or reset needs new ones.

    In robosuite relative poses come before what they are computed from, so it is one step late; here they come last.
    """

    def __init__(self, inner: Any) -> None:
        observables = inner._observables
        arms = [f"robot{arm}_{name}" for arm in range(len(inner.robots)) for name in PROPRIOCEPTION]
        self._arms = [(key, observables[key]._sensor) for key in arms]
        objects = [(name, one) for name, one in observables.items() if one.modality == "object" and one.is_enabled()]
        self._objects = sorted(((name, one._sensor) for name, one in objects), key=lambda item: _looks_up(item[1]))
        self._parts: list[tuple[str, slice]] = []
        cache, self._dim = self._read_all(), 0
        for name, one in objects:
            if one.is_active():
                begin, self._dim = self._dim, self._dim + np.size(cache[name])
                self._parts.append((name, slice(begin, self._dim)))

    def read(self, objects: bool) -> dict[str, np.ndarray]:
        """Proprioception, and ``object`` if wanted; float32."""
        cache = self._read_all() if objects else self._read_arms()
        observation = {key: np.asarray(cache[key], np.float32) for key, _ in self._arms}
        if objects:
            observation["object"] = values = np.empty(self._dim, np.float32)
            for key, part in self._parts:
                values[part] = cache[key]
        return observation

    def _read_arms(self) -> dict[str, Any]:
        cache: dict[str, Any] = {}
        for key, sensor in self._arms:
            cache[key] = sensor(cache)
        return cache

    def _read_all(self) -> dict[str, Any]:
        cache = self._read_arms()
        for key, sensor in self._objects:
            cache[key] = sensor(cache)
        return cache


def _looks_up(sensor: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether a sensor asks for what others have read."""
    asked = []

    class Cache(dict):
        def __contains__(self, key: object) -> bool:
            asked.append(key)
            return False

        def __len__(self) -> int:
            asked.append(None)
            return 0

    sensor(Cache())
    return bool(asked)
