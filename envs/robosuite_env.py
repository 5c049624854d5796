"""Gymnasium's contract over robosuite 1.5: one adapter for every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from l1flow_agents.envs.rendering import QUALITIES, Renderer
from l1flow_agents.envs.robomimic_args import CONTROL_FREQ, to_env_args
from l1flow_agents.envs.robosuite_control import ControlLoop
from l1flow_agents.envs.robosuite_internals import PROPRIOCEPTION, Sensors, robosuite
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import Layout
from l1flow_agents.names import choose, shown
from l1flow_agents.rotations import homogeneous

LARGEST_VIEW = 4096  # pixels a side; an observation space of more takes gigabytes
OBS_TYPES = ("image", "state", "image_state")
CONTROLS = ("delta", "absolute")
FAR = 100.0  # metres: nothing gets there
REACH = 2.5  # metres: every pose target of every task is nearer to the origin


@dataclass(frozen=True)
class Task:
    """What one task is to robosuite.

    ``model_varies``: the model itself (sizes, masses) is drawn anew for every episode, so each reset builds it.
    """

    name: str  # robosuite's
    layout: Layout  # of the observation ``object``
    n_arms: int = 1
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    image_size: int = 84
    model_varies: bool = True
    extras: Layout = field(default_factory=Layout)  # what ``object`` shows beyond ``layout`` where that is wished


class RobosuiteEnv(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A robosuite task with robomimic's observations; subclasses name the task.

    **Observations** (dict, float32): for each arm ``robot0_eef_pos`` (3) metres, ``robot0_eef_quat`` (4) xyzw,
    ``robot0_gripper_qpos`` (2) metres; ``object`` (n), all object poses, as robosuite 1.5 orders them;
    ``<camera>_image`` (size, size, 3) uint8, upright. They show the state that `get_state` returns, as the published
    data sets do (robosuite's own ``step`` shows bodies 2 ms late, and objects relative to the hand one action late).
    Bounds are wide, not tight. ``obs_type`` chooses: ``image`` (images + arms, the default), ``state`` (arms +
    ``object``; OpenGL is never touched) or ``image_state`` (all).

    **Actions** (float32, 7 an arm): OSC_POSE in the world frame. ``delta``: [dx, dy, dz, axis-angle, gripper] in
    [-1, 1], 0.05 m and 0.5 rad a unit. ``absolute``: the pose of the grip site, [x, y, z, axis-angle, gripper], metres
    and radians. Gripper: -1 opens, 1 closes. Twenty actions a second.

    **Reward**: 1.0 on success, else 0; success terminates. ``info["is_success"]`` is always there.

    ``reset(seed=)`` alone decides the episode; ``reset(options={"state": state})`` starts from a `get_state`, or from
    robomimic's ``{"states": row, "model": xml}``.

    Args:
        obs_type: see above.
        control: ``delta`` or ``absolute``.
        cameras: the images' cameras; None for the data sets'.
        image_size: the images' side in pixels; None for the data sets' (84, ToolHang 240).
        render_quality: ``dataset`` draws as robosuite does, ``fast`` simplified meshes without reflections and shadows.
        render_mode: None or ``rgb_array``, for `render`; observations do not depend on it.
        render_camera: camera of `render`; None for the first of the data sets' cameras.
        render_size: side of the picture of `render`, pixels.
        extras: parts that ``object`` shows after those of the data sets; only Square_D1 and Square_D2 have one,
            ``peg1_quat`` (4) xyzw, how the peg is turned.

    Raises:
        ConfigError: one of these does not exist; a camera's name is checked when it first draws.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_FREQ}
    task: ClassVar[Task]

    def __init__(
        self,
        obs_type: str = "image",
        control: str = "delta",
        cameras: Sequence[str] | None = None,
        image_size: int | None = None,
        render_quality: str = "dataset",
        render_mode: str | None = None,
        render_camera: str | None = None,
        render_size: int = 256,
        extras: Sequence[str] = (),
    ) -> None:
        for name, value, allowed in [
            ("obs_type", obs_type, OBS_TYPES),
            ("control", control, CONTROLS),
            ("render_quality", render_quality, QUALITIES),
            ("render_mode", render_mode, (None, "rgb_array")),
        ]:
            if value not in allowed:
                raise ConfigError(f"{self.task.name}: {name} must be one of {allowed}, got {value!r}")
        self.obs_type, self.control, self.render_mode = obs_type, control, render_mode
        for name in extras:
            choose(name, self.task.extras, f"extra part of {self.task.name}'s observation")
        self.extras = tuple(extras)
        self.layout = self.task.layout | Layout(**{name: self.task.extras.sizes[name] for name in self.extras})
        self.cameras = tuple(self.task.cameras if cameras is None else cameras)
        self.image_size = self.task.image_size if image_size is None else image_size
        self.render_camera, self.render_size = render_camera or self.task.cameras[0], render_size
        for name, size in [("image_size", self.image_size), ("render_size", render_size)]:
            if not isinstance(size, int) or not 1 <= size <= LARGEST_VIEW:
                raise ConfigError(
                    f"{self.task.name}: {name} must be a whole number of pixels, at most {LARGEST_VIEW}, got {size!r}"
                )

        self.observation_space: spaces.Dict = spaces.Dict(self._observation_boxes())  # type: ignore[assignment]
        self.action_space: spaces.Box = self._action_box()
        self._renderer = Renderer(render_quality)
        self._robosuite: Any = None  # built by the first reset: the spaces alone cost nothing
        self._control_loop: Any = None
        self._sensors: Any = None
        self._xml: str | None = None  # the model of this episode
        self._own_xml: str | None = None  # the model of an episode that was not restored from a state

    # ---- Gymnasium's methods ----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if self._robosuite is None:
            self._build()
        inner = self._robosuite
        inner.hard_reset = self.task.model_varies or self._xml != self._own_xml or self._xml is None
        _give_generator(inner, self.np_random)
        self._detach()
        inner.reset()
        self._own_xml = self._xml
        self._attach()
        if state is not None:
            self.set_state(state)
        return self.observe(), {"is_success": self.is_success()}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        try:
            action = np.array(action, np.float64)  # a copy: scipy refuses what cannot be written
        except (TypeError, ValueError):
            raise ConfigError(f"{self.task.name}: expected an action of numbers, got {shown(action)}") from None
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ConfigError(
                f"{self.task.name}: expected a finite action of shape {self.action_space.shape}, got {action.tolist()}"
            )
        _ = self.simulator  # raises before the first reset
        self._control_loop.step(action)
        success = self.is_success()
        return self.observe(), float(success), success, False, {"is_success": success}

    def render(self) -> np.ndarray | None:
        """``render_camera``'s view, (render_size, render_size, 3) uint8; None without ``render_mode="rgb_array"``."""
        if self.render_mode is None:
            return None
        return self._picture(self.render_camera, self.render_size)

    def close(self) -> None:
        self._renderer.close()
        self._detach()
        if self._robosuite is not None:
            self._robosuite.close()
            self._robosuite = None

    # ---- states -----------------------------------------------------------------------------------------------------

    @property
    def simulator(self) -> Any:
        """robosuite's own environment; there is none before the first reset (ConfigError)."""
        if self._robosuite is None:
            raise ConfigError(f"{self.task.name}: expected reset() before anything else")
        return self._robosuite

    @property
    def control_loop(self) -> ControlLoop:
        """What moves the arms within an action; another after each reset, and none before the first (ConfigError)."""
        _ = self.simulator
        loop: ControlLoop = self._control_loop
        return loop

    def observe(self) -> dict[str, np.ndarray]:
        """The observation of the present state, such as after `set_state`."""
        observation: dict[str, np.ndarray] = self._sensors.read(objects=self.obs_type != "image")
        if self.obs_type != "state":
            for camera in self.cameras:
                observation[f"{camera}_image"] = self._picture(camera, self.image_size)
        return observation

    @property
    def layouts(self) -> dict[str, Layout]:
        """The names of the parts of observations: those of ``object``."""
        return {"object": self.layout}

    def is_success(self) -> bool:
        """Whether the task is solved in the present state."""
        return bool(self._robosuite._check_success())

    def eef_pose(self, arm: int = 0) -> np.ndarray:
        """The grip site as a homogeneous matrix (4, 4), world frame: what actions move and absolute ones name."""
        inner = self.simulator
        site = inner.robots[arm].eef_site_id["right"]
        return homogeneous(inner.sim.data.site_xmat[site].reshape(3, 3), inner.sim.data.site_xpos[site])

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the future, for `set_state` of any environment of this task.

        ``states`` (1 + nq + nv,) float64 is robomimic's row [time, qpos, qvel], ``model`` the episode's MJCF. The rest
        is what the row lacks: ``warmstart`` (nv,), the solver's first guess; ``posture`` (arms, 7), the joint angles
        that the controller rests in; ``gripper`` (arms, 2), the fingers' target.
        """
        inner = self.simulator
        return {
            "model": self._xml,
            "states": inner.sim.get_state().flatten(),
            "warmstart": inner.sim.data.qacc_warmstart.copy(),
            "posture": np.array([arm.initial_joint for arm in self._arms()]),
            "gripper": np.array([gripper.current_action for gripper in self._grippers()]),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state, which needs ``states`` only.

        Without ``model``: this episode's. Without ``posture``, ``warmstart`` and ``gripper``, as in robomimic's files:
        what they are at an episode's start.

        Raises:
            ConfigError: ``states`` is missing or of another length, or ``model`` is not this task's (`reset` goes on).
        """
        inner = self.simulator
        if state.get("model", self._xml) != self._xml:
            inner.hard_reset = True  # observables of the new model, too
            self._detach()
            try:
                inner.reset_from_xml_string(state["model"])
            except Exception as error:  # older robosuites name joints otherwise; files of v1.5 have the names of now
                self.close()
                raise ConfigError(
                    f"{self.task.name}: state['model'] must be this task's model of robosuite 1.5 ({error})"
                ) from error
            self._attach()
        sim = inner.sim
        expected = 1 + sim.model.nq + sim.model.nv
        row = np.asarray(state.get("states", ()), np.float64)
        if row.shape != (expected,):
            raise ConfigError(f"{self.task.name}: state['states'] must have shape ({expected},), got {row.shape}")
        sim.set_state_from_flattened(row)
        sim.data.qacc_warmstart[:] = state.get("warmstart", 0.0)
        sim.forward()
        for index, (arm, gripper) in enumerate(zip(self._arms(), self._grippers(), strict=True)):
            joints = state["posture"][index] if "posture" in state else sim.data.qpos[arm.qpos_index]
            arm.initial_joint = np.array(joints)
            arm.new_update = True  # what it knows is of before
            gripper.current_action = np.array(state["gripper"][index] if "gripper" in state else np.zeros(2))

    def env_args(self) -> dict[str, Any]:
        """robomimic's ``env_args`` for files written from this environment; `env_from_args` reads it back."""
        images = self.obs_type != "state"
        view = (self.control, images, self.cameras, self.image_size, self.extras)
        return to_env_args(self.task.name, self.task.n_arms, *view)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        kwargs = self.env_args()["env_kwargs"]
        # Pictures are drawn by `Renderer`. lite_physics leaves out a second solver pass that changes no bit.
        kwargs.update(use_camera_obs=False, has_offscreen_renderer=False, renderer="mujoco", lite_physics=True)
        self._robosuite = robosuite.make(self.task.name, **kwargs)
        self._xml = None
        self._robosuite.set_xml_processor(self._remember_model)

    def _remember_model(self, xml: str) -> str:
        self._xml = xml
        return xml

    def _arms(self) -> list[Any]:
        return [robot.part_controllers["right"] for robot in self._robosuite.robots]

    def _grippers(self) -> list[Any]:
        return [robot.gripper["right"] for robot in self._robosuite.robots]

    def _attach(self) -> None:
        """Look at the simulation as it is now: another model has other arrays, a reset makes other controllers."""
        self._control_loop, self._sensors = ControlLoop(self._robosuite), Sensors(self._robosuite)

    def _detach(self) -> None:
        """Let go of the simulation's memory, before another one is built."""
        self._control_loop = self._sensors = None

    def _picture(self, camera: str, size: int) -> np.ndarray:
        sim = self.simulator.sim
        return self._renderer.render(sim.model._model, sim.data._data, camera, size)

    def _observation_boxes(self) -> dict[str, spaces.Space]:
        boxes: dict[str, spaces.Space] = {
            f"robot{arm}_{name}": spaces.Box(-FAR, FAR, (dim,), np.float32)
            for arm in range(self.task.n_arms)
            for name, dim in PROPRIOCEPTION.items()
        }
        if self.obs_type != "image":
            boxes["object"] = spaces.Box(-FAR, FAR, (self.layout.dim,), np.float32)
        if self.obs_type != "state":
            shape = (self.image_size, self.image_size, 3)
            boxes |= {f"{camera}_image": spaces.Box(0, 255, shape, np.uint8) for camera in self.cameras}
        return boxes

    def _action_box(self) -> spaces.Box:
        one_arm = [1.0] * 7 if self.control == "delta" else [REACH] * 3 + [np.pi] * 3 + [1.0]
        high = np.tile(np.array(one_arm, np.float32), self.task.n_arms)
        return spaces.Box(-high, high, dtype=np.float32)


def _give_generator(inner: Any, rng: np.random.Generator) -> None:
    """Make every draw of robosuite's come from ``rng``; placement samplers keep generators of their own."""
    inner.rng = rng
    sampler = inner.placement_initializer
    for one in [sampler, *getattr(sampler, "samplers", {}).values()]:
        one.rng = rng
