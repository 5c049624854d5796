"""Pictures of a MuJoCo simulation without a display."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import sys
import weakref
from typing import Any

import numpy as np

from l1flow_agents.errors import ConfigError

QUALITIES = ("dataset", "fast")
BACKENDS = ("egl", "osmesa", "glfw")
COLLISION_GEOMS = 0  # the group that robosuite hides
_OPEN: weakref.WeakSet[Renderer] = weakref.WeakSet()


class Renderer:
    """Draws one simulation at a time, keeping one OpenGL context until `close`.

    Args:
        quality: ``dataset`` draws what robosuite's own cameras see, pixel for pixel; ``fast`` leaves out reflections
            and shadows.
    """

    def __init__(self, quality: str = "dataset") -> None:
        self.quality = quality
        self._gl: Any = None
        self._context: Any = None  # of one model: it holds the model's meshes and textures
        self._scene: Any = None
        self._model: Any = None

    def render(self, model: Any, data: Any, camera: str, size: int) -> np.ndarray:
        """What ``camera`` sees, (size, size, 3) uint8, upright. ``model`` and ``data`` are MuJoCo's own.

        Raises:
            ConfigError: the model has no such camera, or OpenGL cannot be used.
        """
        import mujoco

        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if view.fixedcamid < 0:
            known = [model.camera(i).name for i in range(model.ncam)]
            raise ConfigError(f"camera must be one of {known}, got {camera!r}")

        self._prepare(model, size)
        rect = mujoco.MjrRect(0, 0, size, size)
        picture = np.empty((size, size, 3), np.uint8)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._option, self._perturbation, view, everything, self._scene)
        mujoco.mjr_render(rect, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, rect, self._context)
        return picture[::-1].copy()  # OpenGL counts rows from the bottom

    def close(self) -> None:
        """Give the OpenGL context back; the next `render` makes another."""
        if self._gl is not None:
            self._forget_model()
            self._gl.free()
            self._gl = None

    def __del__(self) -> None:
        self.close()

    def _prepare(self, model: Any, size: int) -> None:
        import mujoco

        if self._gl is None:
            self._gl = gl_context_class()(size, size)
            _OPEN.add(self)
        self._gl.make_current()
        if self._model is model and size <= self._context.offWidth:
            return
        self._forget_model()
        screen = model.vis.global_
        screen.offwidth, screen.offheight = max(size, screen.offwidth), max(size, screen.offheight)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=10_000)
        if self.quality == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._option, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._option.geomgroup[COLLISION_GEOMS] = 0
        self._model = model

    def _forget_model(self) -> None:
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
        self._context = self._scene = self._model = None


@functools.cache
def gl_context_class() -> type:
    """MuJoCo's class of OpenGL contexts, chosen once a process.

    ``MUJOCO_GL`` (egl, osmesa or glfw) decides; where it is not set, EGL, and OSMesa where EGL does not work.

    Raises:
        ConfigError: none works; the message has each one's reason.
    """
    import mujoco

    if sys.platform != "linux":
        return mujoco.GLContext
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise ConfigError(f"MUJOCO_GL must be one of {BACKENDS} or not set, got {wanted!r}")
    reasons = []
    for backend in [wanted] if wanted else ["egl", "osmesa"]:
        try:
            context_class: type = importlib.import_module(f"mujoco.{backend}").GLContext
            _try(context_class)
            atexit.register(
                _close_all
            )  # runs before the library's own clean-up, which was registered by the line above
            return context_class
        except Exception as error:  # a missing library shows as any of five exceptions, by the binding
            reasons.append(f"{backend}: {' '.join(str(error).split())}")
            _unload_opengl()
    raise ConfigError(
        "no OpenGL for pictures; install libegl1 or libosmesa6, or use obs_type='state' without rendering "
        f"({'; '.join(reasons)})"
    )


def _try(context_class: Any) -> None:
    import mujoco

    context = context_class(1, 1)
    context.make_current()
    mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_150).free()
    context.free()


def _close_all() -> None:
    for renderer in list(_OPEN):
        renderer.close()


def _unload_opengl() -> None:
    """PyOpenGL binds to one back-end when it is imported; the next one needs it afresh."""
    os.environ.pop("PYOPENGL_PLATFORM", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "OpenGL"]:
        del sys.modules[name]
