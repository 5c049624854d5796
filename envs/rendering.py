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

from l1flow_agents.envs import level_of_detail
from l1flow_agents.errors import ConfigError

QUALITIES = ("dataset", "fast")
BACKENDS = ("egl", "osmesa", "glfw")
COLLISION_GEOMS = 0  # the group that robosuite hides
ASSETS = (  # arrays of a model, or beginnings of their names, that an `MjrContext` is made of
    *("flex_", "hfield_", "mat_", "mesh_", "skin_", "tex_"),
    *("geom_dataid", "geom_group", "geom_matid", "geom_type"),
)
_OPEN: weakref.WeakSet[Renderer] = weakref.WeakSet()


class Renderer:
    """Draws one simulation at a time, keeping one OpenGL context until `close`.

    Args:
        quality: ``dataset`` draws what robosuite's own cameras see, pixel for pixel; ``fast`` simplified meshes without
            reflections and shadows (see `level_of_detail`).
    """

    def __init__(self, quality: str = "dataset") -> None:
        self.quality = quality
        self._gl: Any = None
        self._context: Any = None  # holds the meshes and textures
        self._scene: Any = None
        self._model: Any = None  # the last one

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
        if self.quality == "fast":  # robosuite hides sites by their alpha, and OpenGL draws them nonetheless
            self._option.sitegroup[:] = (model.site_rgba[:, 3] > 0).any()
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
        if self._model is not None and size <= self._context.offWidth and _look_alike(self._model, model):
            self._model = model
            return
        self._forget_model()
        screen = model.vis.global_
        screen.offwidth, screen.offheight = max(size, screen.offwidth), max(size, screen.offheight)
        self._option, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._option.geomgroup[COLLISION_GEOMS] = 0
        self._scene = mujoco.MjvScene(model, maxgeom=10_000)
        if self.quality == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        seen = level_of_detail.reduced(model, self._option.geomgroup) if self.quality == "fast" else model
        self._context = mujoco.MjrContext(seen, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._model = model

    def _forget_model(self) -> None:
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
        self._context = self._scene = self._model = None


def _look_alike(one: Any, other: Any) -> bool:
    """Whether two models have one `MjrContext`: the same meshes, textures, planes and the like, wherever they are.

    Models of one task often differ in sizes and masses only, and making a context takes longer than making a model.
    """
    import mujoco

    if one is other:
        return True
    if one.stat.extent != other.stat.extent or one.vis.global_.linewidth != other.vis.global_.linewidth:
        return False
    if any(getattr(one.vis, part) != getattr(other.vis, part) for part in ("map", "quality", "rgba")):
        return False
    names = [name for name in dir(one) if name.startswith(ASSETS)]
    if not all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names):
        return False
    planes = one.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    return np.array_equal(one.geom_size[planes], other.geom_size[planes])


@functools.cache
def gl_context_class() -> type:
    """MuJoCo's class of OpenGL contexts, chosen once a process.

    ``MUJOCO_GL`` (egl, osmesa or glfw) decides; where it is not set, EGL, and OSMesa where EGL does not work.
    ``PYOPENGL_PLATFORM`` follows from that choice, whatever it says.

    Raises:
        ConfigError: none works (the message has each one's reason), or ``MUJOCO_EGL_DEVICE_ID`` is no device here.
    """
    import mujoco

    if sys.platform != "linux":
        return mujoco.GLContext
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise ConfigError(f"MUJOCO_GL must be one of {BACKENDS} or not set, got {wanted!r}")
    if "OpenGL" not in sys.modules:
        os.environ.pop("PYOPENGL_PLATFORM", None)
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
            if backend == "egl":
                _check_device(str(error))
            reasons.append(f"{backend}: {' '.join(str(error).split())}")
            _unload_opengl()
    raise ConfigError(
        "no OpenGL for pictures; install libegl1 or libosmesa6, or use obs_type='state' without rendering "
        f"({'; '.join(reasons)})"
    )


def _check_device(reason: str) -> None:
    """Raise ConfigError if EGL failed for the device that was asked for: another back-end is not the answer then."""
    device = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    if device is not None and ("MUJOCO_EGL_DEVICE_ID" in reason or "invalid literal for int" in reason):
        reason = reason if "MUJOCO_EGL_DEVICE_ID" in reason else "it is no number"
        raise ConfigError(
            f"MUJOCO_EGL_DEVICE_ID must be the number of an EGL device or not set, got {device!r} ({reason})"
        ) from None


def _try(context_class: Any) -> None:
    import mujoco

    if not hasattr(context_class, "_context"):
        context_class._context = None  # else MuJoCo's own __del__ fails, loudly, for one that could not be made
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
