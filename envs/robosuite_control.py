"""What happens within one action: 25 substeps of physics, each with torques of its own.

`PoseControl` finds the torques for the arms of this library's tasks; what else robosuite can control `RobosuiteControl`
leaves to it. The 50 observables that robosuite's own ``step`` evaluates after each substep are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import mujoco
import numpy as np

from l1flow_agents.envs.operational_space import operational_space
from l1flow_agents.envs.robosuite_internals import robosuite

CompositeController: Any = robosuite.controllers.composite.composite_controller.CompositeController
OperationalSpaceController: Any = robosuite.controllers.parts.arm.osc.OperationalSpaceController
SimpleGripController: Any = robosuite.controllers.parts.gripper.simple_grip.SimpleGripController
FixedBaseRobot: Any = robosuite.robots.FixedBaseRobot
RobotEnv: Any = robosuite.environments.robot_env.RobotEnv


class Control(Protocol):
    """Writes the actuators' inputs, for the state that `mujoco.mj_step1` has just seen."""

    def begin(self, action: np.ndarray) -> None:
        """Set the goals of an action, and the first inputs towards them."""

    def go_on(self) -> None:
        """The next inputs towards the same goals."""


class ControlLoop:
    """A robosuite environment's ``step`` without its observations. Another model or reset needs a new one."""

    def __init__(self, inner: Any) -> None:
        self._model, self._data = inner.sim.model._model, inner.sim.data._data
        self._n_substeps = int(inner.control_timestep / inner.model_timestep)
        self.control: Control = PoseControl(inner) if has_pose_control(inner) else RobosuiteControl(inner)

    def step(self, action: np.ndarray) -> None:
        model, data, control = self._model, self._data, self.control
        mujoco.mj_step1(model, data)
        control.begin(action)
        mujoco.mj_step2(model, data)
        for _ in range(self._n_substeps - 1):
            mujoco.mj_step1(model, data)
            control.go_on()
            mujoco.mj_step2(model, data)
        mujoco.mj_forward(model, data)  # bodies where the joints now are; changes no later state

    def substep(self, write: Callable[[], None]) -> None:
        """One step of physics, with the actuators' inputs that ``write`` writes: for who keeps the time himself."""
        mujoco.mj_step1(self._model, self._data)
        write()
        mujoco.mj_step2(self._model, self._data)


class RobosuiteControl:
    """robosuite's own controllers, whatever they are."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        limits = inner.sim.model.actuator_ctrlrange
        self._actuators = [
            {part: (index, *limits[index].T) for part, index in robot._ref_actuators_indexes_dict.items()}
            for robot in inner.robots
        ]
        for robot in inner.robots:
            for part in robot.part_controllers.values():
                part.new_update = True  # else the first torques use a mass matrix of before the gripper was placed

    def begin(self, action: np.ndarray) -> None:
        self._inner._pre_action(action, policy_step=True)

    def go_on(self) -> None:
        """robosuite's ``_pre_action`` without what only a new action needs."""
        ctrl = self._inner.sim.data.ctrl
        for robot, actuators in zip(self._inner.robots, self._actuators, strict=True):
            for part, torques in robot.composite_controller.run_controller(robot._enabled_parts).items():
                index, low, high = actuators[part]
                ctrl[index] = np.clip(torques, low, high)


class PoseControl:
    """Arms under OSC_POSE in the world frame, with Panda's gripper: robosuite's torques, bit for bit.

    The operations are robosuite's, in its order, but each is done once: one mass matrix for all arms, one Jacobian an
    arm (robosuite: six), no velocity of a base that stands fast, one gripper input an action. Goals are set by
    robosuite's own controllers. Its records of the past (``recent_qpos``, ``recent_ee_vel``, ...) are not kept.
    """

    def __init__(self, inner: Any) -> None:
        self._model, self._data = inner.sim.model._model, inner.sim.data._data
        self._inertia = self._data.qM
        self._mass_matrix = np.zeros((self._model.nv, self._model.nv))
        self._arms = [_Arm(robot, self._model, self._data, self._mass_matrix) for robot in inner.robots]

    def begin(self, action: np.ndarray) -> None:
        for arm, one in zip(self._arms, np.split(action, len(self._arms)), strict=True):
            arm.set_goal(one)
        self.go_on()

    def go_on(self) -> None:
        mujoco.mj_fullM(self._model, self._mass_matrix, self._inertia)
        for arm in self._arms:
            arm.push()


def has_pose_control(inner: Any) -> bool:
    """Whether `PoseControl` is what this environment's robots have."""
    return type(inner)._pre_action is RobotEnv._pre_action and all(map(_is_pose_controlled, inner.robots))


def _is_pose_controlled(robot: Any) -> bool:
    controller = robot.composite_controller
    parts = controller.part_controllers
    if type(robot) is not FixedBaseRobot or type(controller) is not CompositeController:
        return False
    if [(part, type(one)) for part, one in parts.items()] != [
        ("right", OperationalSpaceController),
        ("right_gripper", SimpleGripController),
    ]:
        return False
    arm, gripper = parts.values()
    left_out = (
        arm.interpolator_pos,
        arm.interpolator_ori,
        arm.position_limits,
        arm.orientation_limits,
        gripper.interpolator,
    )
    settings = (arm.impedance_mode, arm.input_ref_frame, arm.use_ori, arm.uncoupling, arm.num_ref_sites)
    indexes = [arm.qpos_index, arm.qvel_index, *robot._ref_actuators_indexes_dict.values()]
    return (
        settings == ("fixed", "world", True, True, 1)
        and all(one is None for one in left_out)
        and all(robot._enabled_parts.get(part) for part in parts)
        and all((np.diff(index) == 1).all() for index in indexes)
    )


class _Arm:
    """One arm with its gripper. Arrays are views of MuJoCo's, or buffers, all taken once."""

    def __init__(self, robot: Any, model: Any, data: Any, mass_matrix: np.ndarray) -> None:
        self._composite = robot.composite_controller
        self._arm, self._gripper = self._composite.part_controllers.values()
        self._model, self._data = model, data
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, self._arm.ref_name)
        dofs = _span(self._arm.qvel_index)
        n_joints = dofs.stop - dofs.start
        self._all_joint_vel, self._joint_vel = data.qvel, data.qvel[dofs]
        self._joint_pos, self._bias = data.qpos[_span(self._arm.qpos_index)], data.qfrc_bias[dofs]
        self._pos, self._matrix = data.site_xpos[self._site], data.site_xmat[self._site].reshape(3, 3)
        indexes = [_span(robot._ref_actuators_indexes_dict[part]) for part in self._composite.part_controllers]
        self._ctrl, self._gripper_ctrl = (data.ctrl[index] for index in indexes)
        (self._low, self._high), self._gripper_limits = (model.actuator_ctrlrange[index].T.copy() for index in indexes)

        whole_jacobian, self._jacobian = np.zeros((6, model.nv)), np.zeros((6, n_joints))
        self._linear, self._angular = whole_jacobian[:3], whole_jacobian[3:]
        self._columns, self._block = whole_jacobian[:, dofs], mass_matrix[dofs, dofs]
        self._goal_pos, self._goal_matrix, self._posture = np.zeros(3), np.zeros((3, 3)), np.zeros(n_joints)
        self._velocity, self._acceleration, self._wrench = np.zeros(6), np.zeros(6), np.zeros(6)
        self._halves = [(one[:3], one[3:]) for one in (self._velocity, self._acceleration, self._wrench)]
        self._linear_inertia, self._angular_inertia = np.zeros((3, 3), order="F"), np.zeros((3, 3), order="F")
        self._torques, self._posture_torques = np.zeros(n_joints), np.zeros(n_joints)

    def set_goal(self, action: np.ndarray) -> None:
        arm = self._arm
        arm.ref_pos[:], arm.ref_ori_mat[:] = self._pos, self._matrix
        arm.new_update = False  # what a goal depends on is up to date
        self._composite.set_goal(action)
        arm.new_update = True
        self._goal_pos[:], self._goal_matrix[:], self._posture[:] = arm.goal_pos, arm.goal_ori, arm.initial_joint
        self._stiffness, self._damping = arm.kp, arm.kd
        self._gripper_ctrl[:] = np.clip(self._gripper.run_controller(), *self._gripper_limits)

    def push(self) -> None:
        """The torques for the present state into ``ctrl``."""
        (linear_velocity, angular_velocity), (linear, angular), (force, torque) = self._halves
        mujoco.mj_jacSite(self._model, self._data, self._linear, self._angular, self._site)
        np.dot(self._linear, self._all_joint_vel, linear_velocity)
        np.dot(self._angular, self._all_joint_vel, angular_velocity)
        operational_space(
            self._columns,
            self._block,
            self._goal_pos,
            self._goal_matrix,
            self._pos,
            self._matrix,
            self._velocity,
            self._stiffness,
            self._damping,
            self._posture,
            self._joint_pos,
            self._joint_vel,
            self._jacobian,
            self._acceleration,
            self._linear_inertia,
            self._angular_inertia,
            self._posture_torques,
        )
        np.dot(self._linear_inertia, linear, force)
        np.dot(self._angular_inertia, angular, torque)
        torques = np.dot(self._jacobian.T, self._wrench, self._torques)
        torques += self._bias
        torques += self._posture_torques
        np.maximum(torques, self._low, torques)
        np.minimum(torques, self._high, self._ctrl)


def _span(indexes: list[int]) -> slice:
    """Neighbours as a slice, which gives views."""
    return slice(indexes[0], indexes[-1] + 1)
