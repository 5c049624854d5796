"""What MimicGen's tasks share inside robosuite: table, cameras, placement, observations, contacts."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import mujoco
import numpy as np

from l1flow_agents.envs.mimicgen.spec import Placement, Subtask, Variant
from l1flow_agents.envs.robosuite_internals import robosuite
from l1flow_agents.layouts import Layout
from l1flow_agents.rotations import homogeneous

ManipulationEnv: Any = robosuite.environments.manipulation.manipulation_env.ManipulationEnv
Observable, sensor = robosuite.utils.observables.Observable, robosuite.utils.observables.sensor
placement_samplers = robosuite.utils.placement_samplers

# position, quaternion wxyz
STANDARD_VIEW = (0.5, 0.0, 1.35), (0.653, 0.271, 0.271, 0.653)
FULL_VIEW = (0.753078, 0.0, 1.519473), (0.643241, 0.293668, 0.293668, 0.643241)
# of the tasks that come from robosuite's task zoo
TASK_ZOO_VIEWS = {
    "agentview": ((0.538613, 0.0, 1.490350), (0.638018, 0.304850, 0.304850, 0.638018)),
    "sideview": ((0.558613, 0.3, 1.290350), (0.414423, 0.310092, 0.496415, 0.696899)),
}
OVERLAP = 0.0005  # metres: deeper than a contact
LEANING = 0.001  # 1 - z component of an upright axis (2.56 degrees) is less


class _SceneMeta(type(ManipulationEnv), ABCMeta):  # type: ignore[misc]
    """robosuite's metaclass, and abstract methods."""


Observations = dict[str, Callable[[], np.ndarray | float]]


class Scene(ManipulationEnv, metaclass=_SceneMeta):  # type: ignore[misc]  # robosuite says no types
    """One task in robosuite; subclasses say what it is. How: see this package's docstring.

    Args:
        variant: of ``variants``.
        use_object_obs: object poses among the observations.
        reward_shaping: ignored, the reward is sparse.
        extras: of those of the class, what the observation shows too.
        kwargs: robosuite's.
    """

    variants: ClassVar[Mapping[str, Variant]]
    layout: ClassVar[Layout]  # of the observation ``object``
    extras: ClassVar[Layout] = Layout()  # what it shows beyond that where wished
    subtasks: ClassVar[tuple[Subtask, ...]]
    choose_every_subtask: ClassVar[bool] = False  # a new source for each subtask, else one an episode
    model_varies: ClassVar[bool] = False
    parts: ClassVar[dict[str, str]] = {}  # other names of bodies, for parts of objects

    table_size: ClassVar[tuple[float, float, float]] = (0.8, 0.8, 0.05)
    table_top: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.8)  # its middle, from which placements count
    table_friction: ClassVar[tuple[float, float, float]] = (1.0, 0.005, 0.0001)

    def __init__(
        self,
        variant: str,
        robots: Any,
        use_object_obs: bool = True,
        reward_shaping: bool = False,
        extras: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.variant = self.variants[variant]
        self.use_object_obs, self.shown = use_object_obs, (*self.layout, *extras)
        super().__init__(robots=robots, **{"initialization_noise": "default", **kwargs})  # the arm's posture varies

    # ---- what a task says -------------------------------------------------------------------------------------------

    @abstractmethod
    def make_objects(self) -> list[Any]:
        """The task's objects, as robosuite's models."""

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is solved."""

    @abstractmethod
    def signals(self) -> dict[str, bool]:
        """The end signals of the subtasks."""

    def make_arena(self) -> Any:
        arena = robosuite.models.arenas.TableArena
        return arena(self.table_size, table_friction=self.table_friction, table_offset=self.table_top)

    def base_position(self, offsets: dict[str, Any]) -> Any:
        """Where the robot stands; ``offsets``: robosuite's proposals."""
        return offsets["table"](self.table_size[0])

    def views(self) -> dict[str, tuple]:
        """Cameras that are not the arena's own."""
        views = (STANDARD_VIEW, FULL_VIEW)
        return dict(zip(("agentview", "agentview_full"), views[::-1] if self.variant.full_view else views, strict=True))

    def observations(self) -> Observations:
        """What reads the parts of `layout`: poses here, what else there is by the task."""
        return {part: read for name in self.layout.objects for part, read in self.pose_observations(name).items()}

    # ---- questions to the simulation --------------------------------------------------------------------------------
    # Names are those of objects, of bodies (a peg) or, for contacts, of geoms.

    def position(self, name: str) -> np.ndarray:
        return np.array(self.sim.data.get_body_xpos(self._body(name)))

    def quaternion(self, name: str) -> np.ndarray:
        """In the order xyzw."""
        return np.roll(self.sim.data.get_body_xquat(self._body(name)), -1)

    def pose(self, name: str) -> np.ndarray:
        """A homogeneous matrix (4, 4)."""
        return homogeneous(self.sim.data.get_body_xmat(self._body(name)), self.position(name))

    def eef_position(self) -> np.ndarray:
        return np.array(self.sim.data.site_xpos[self.robots[0].eef_site_id["right"]])

    def joint(self, name: str) -> float:
        """How far a hinge or slide is, radians or metres."""
        return float(self.sim.data.get_joint_qpos(name))

    def stands(self, name: str) -> bool:
        return bool(1 - self.pose(name)[2, 2] < LEANING)

    def touching(self, one: str, other: str) -> bool:
        return bool(self.check_contact(self.objects.get(one, one), self.objects.get(other, other)))

    def overlapping(self) -> bool:
        return any(self.sim.data.contact[index].dist < -OVERLAP for index in range(self.sim.data.ncon))

    def grasped(self, name: str, tolerant: bool = False) -> bool:
        """The pads of both fingers touch the object; ``tolerant``: of one finger any part will do."""
        geoms = self.robots[0].gripper["right"].important_geoms
        left, right = self._contacts_of(name, geoms["left_finger"]), self._contacts_of(name, geoms["right_finger"])
        left_pad, right_pad = left & {*geoms["left_fingerpad"]}, right & {*geoms["right_fingerpad"]}
        if tolerant:
            return bool((left_pad and right) or (left and right_pad))
        return bool(left_pad and right_pad)

    def pose_observations(self, name: str) -> Observations:
        """Pose in the world, and in the gripper: the grip site's position and, as in the data sets, the hand's axes."""

        def in_gripper() -> tuple[np.ndarray, np.ndarray]:
            hand = self.robots[0].robot_model.eef_name["right"]
            back, position, turn = np.empty(4), np.empty(3), np.empty(4)
            mujoco.mju_negQuat(back, self.sim.data.get_body_xquat(hand))
            mujoco.mju_rotVecQuat(position, self.position(name) - self.eef_position(), back)
            mujoco.mju_mulQuat(turn, back, self.sim.data.get_body_xquat(self._body(name)))
            return position, np.roll(turn if turn[0] >= 0 else -turn, -1)

        return {
            f"{name}_pos": lambda: self.position(name),
            f"{name}_quat": lambda: self.quaternion(name),
            f"{name}_to_robot0_eef_pos": lambda: in_gripper()[0],
            f"{name}_to_robot0_eef_quat": lambda: in_gripper()[1],
        }

    # ---- robosuite's hooks ------------------------------------------------------------------------------------------

    def reward(self, action: Any = None) -> float:
        return float(self.success())

    def _check_success(self) -> bool:
        return self.success()

    def _load_model(self) -> None:
        super()._load_model()
        robot = self.robots[0].robot_model
        robot.set_base_xpos(self.base_position(robot.base_xpos_offset))
        arena = self.make_arena()
        arena.set_origin([0, 0, 0])
        for name, (position, quaternion) in self.views().items():
            arena.set_camera(name, position, quaternion)
        self.objects = {one.name: one for one in self.make_objects()}
        self.placement_initializer = self._sampler()
        drawn = [self.objects[name] for name in self.variant.placements]
        assert self.model_varies or all(map(is_free, drawn)), "a body that stands fast is in the model"
        if self.model_varies:
            self._placed = self._draw_placements()
            for position, quaternion, one in self._placed.values():
                if not is_free(one):
                    one.get_obj().set("pos", " ".join(map(str, position)))
                    one.get_obj().set("quat", " ".join(map(str, quaternion)))
        self.model = robosuite.models.tasks.ManipulationTask(arena, [robot], list(self.objects.values()))

    def reset(self) -> Any:
        """A start in which something is inside something else, such as a drawer in the hand, is drawn again."""
        observations = super().reset()
        while not self.deterministic_reset and self.overlapping():
            observations = super().reset()
        return observations

    def _reset_internal(self) -> None:
        super()._reset_internal()
        if self.deterministic_reset:  # a state will follow
            return
        placed = self._placed if self.model_varies else self._draw_placements()
        for position, quaternion, one in placed.values():
            if is_free(one):
                self.sim.data.set_joint_qpos(one.joints[0], np.concatenate([position, quaternion]))

    def _setup_observables(self) -> dict[str, Any]:
        observables: dict[str, Any] = super()._setup_observables()
        readers = self.observations()
        for part in self.shown if self.use_object_obs else ():
            observables[part] = Observable(part, _sensor_of(readers[part]), sampling_rate=self.control_freq)
        return observables

    # ---- inside -----------------------------------------------------------------------------------------------------

    def fixtures(self) -> dict[str, Any]:
        """What is on the table before the objects, as robosuite's samplers take it."""
        return {}

    def _draw_placements(self) -> dict[str, Any]:
        placed = self.placement_initializer.sample(fixtures=self.fixtures())
        return {name: one for name, one in placed.items() if name in self.objects}

    def _sampler(self) -> Any:
        sampler = placement_samplers.SequentialCompositeSampler("ObjectSampler")
        sampler.rng = self.rng
        for name, one in self.variant.placements.items():
            sampler.append_sampler(self._sampler_of(name, one))
        return sampler

    def _sampler_of(self, name: str, placement: Placement) -> Any:
        return placement_samplers.UniformRandomSampler(
            f"{name}Sampler",
            self.objects[name],
            x_range=_ends(placement.x),
            y_range=_ends(placement.y),
            rotation=placement.yaw,
            rotation_axis=placement.axis,
            ensure_object_boundary_in_range=False,
            reference_pos=self.table_top,
            z_offset=placement.z,
            rng=self.rng,
        )

    def _body(self, name: str) -> str:
        return self.objects[name].root_body if name in self.objects else self.parts.get(name, name)

    def _contacts_of(self, name: str, geoms: list[str]) -> set[str]:
        """Those of ``geoms`` that touch the object."""
        return {one for one in geoms if self.check_contact(one, self.objects[name])}


def is_free(model: Any) -> bool:
    """Whether it can move away, rather than stand fast in the world."""
    return model.get_obj().find("./joint[@type='free']") is not None


def _ends(values: Any) -> tuple[float, float]:
    return values if isinstance(values, tuple) else (values, values)


def _sensor_of(read: Callable[[], Any]) -> Any:
    return sensor(modality="object")(lambda cache: read())
