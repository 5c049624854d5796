"""A simulated arm that moves by a clock, seen by a camera that is late and loses frames."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from l1flow_agents.checks import DATACLASS
from l1flow_agents.envs import find_spec
from l1flow_agents.envs.robomimic_args import CONTROL_FREQ
from l1flow_agents.envs.robosuite_env import RobosuiteEnv
from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import NotNegative, Positive, Share
from l1flow_agents.realtime.limits import Limits
from l1flow_agents.realtime.robot import Clock, Reading
from l1flow_agents.rotations import POSITION_SCALE, ROTATION_SCALE

BRAKE = 60.0  # 1/s by which the braked joints' speed falls, and 1/s^2 that draws them back
BRAKE_SPRING = 100.0
AT_REST = 0.01  # m/s of the grip site
RESUME = 0.25  # seconds behind its clock from which on an arm no longer catches up


@dataclass(frozen=True, kw_only=True)
class Line:
    """What lies between a simulated arm and its loop; times in seconds."""

    __pydantic_config__ = DATACLASS

    camera_hz: Positive = 60.0
    """Frames a second."""
    camera_delay: NotNegative = 0.02
    """From a frame's time to its arrival."""
    action_delay: NotNegative = 0.01
    """From an action's sending to its effect."""
    jitter: NotNegative = 0.0
    """Of both, up to which uniform delays are added."""
    loss: Share = 0.0
    """Of frames that never arrive."""


class SimulatedArm:
    """Physics up to a time, with the actions that came and the frames that were taken until then.

    Between actions the arm goes on to the goal of the last one; before the first, and once stopped, its joints brake.

    Attributes:
        stopped_at: when it was stopped, and ``rested_at`` when the hand then stood still; None while it moves.
        behind: the most seconds that its physics lagged behind the clock.
    """

    def __init__(self, env_id: str, line: Line, env_kwargs: dict[str, Any] | None = None) -> None:
        self.line = line
        self._outer = gym.make(find_spec(env_id), **{"obs_type": "state", **(env_kwargs or {})})
        self.env: Any = self._outer.unwrapped
        if not isinstance(self.env, RobosuiteEnv):
            raise ConfigError(f"{env_id}: expected an environment of a robosuite task, whose physics takes small steps")
        self.observation_space: spaces.Dict = self.env.observation_space
        self.action_space: spaces.Box = self.env.action_space
        self.behind = 0.0

    def warm_up(self) -> None:
        """What the first step of a process takes longer for: controllers are compiled, or loaded from their cache."""
        self.env.reset(seed=0)
        self.env.step(np.zeros(self.action_space.shape))

    def reset(self, seed: int, clock: Clock) -> None:
        """Begin an episode, when the simulator is ready."""
        self.env.reset(seed=seed)
        self._random = np.random.default_rng([seed, 2])
        self._loop = self.env.control_loop
        self._brakes = Brakes(self.env.simulator)
        self._substep = float(self.env.simulator.model_timestep)
        self._begin = self._time = clock.now()
        self._n_substeps = self._n_frames = 0
        self._actions: list[tuple[float, int, np.ndarray]] = []  # by time of effect
        self._frames: deque[tuple[float, Reading]] = deque()  # with time of arrival
        self._n_actions, self._moving = 0, False
        self._gripped, self._grips_due = self._time - 1 / CONTROL_FREQ, 0.0
        self.stopped_at: float | None = None
        self.rested_at: float | None = None

    def act(self, action: np.ndarray, sent: float) -> None:
        if self.stopped_at is None:
            heapq.heappush(self._actions, (sent + self._delay(self.line.action_delay), self._n_actions, action))
            self._n_actions += 1

    def stop(self, now: float) -> None:
        if self.stopped_at is None:
            self._actions.clear()
            self._moving, self.stopped_at = False, now
            self._brakes.engage()

    def advance(self, now: float) -> None:
        """Physics, actions and frames up to ``now``."""
        lag = now - self._time
        if lag > RESUME:  # the machine was elsewhere: time goes on from here
            self._begin += lag
            self._time = now
        self.behind = max(self.behind, lag)
        while (following := self._begin + (self._n_substeps + 1) * self._substep) <= now + 1e-9:
            if self._time >= self._begin + self._n_frames / self.line.camera_hz:
                self._take_frame()
            self._step()
            self._time = following
            self._n_substeps += 1
        if self.stopped_at is not None and self.rested_at is None and self.speed() < AT_REST:
            self.rested_at = now

    def arrived(self, now: float) -> list[Reading]:
        """The frames that have arrived since the last call, by their time."""
        here = []
        while self._frames and self._frames[0][0] <= now + 1e-9:
            here.append(self._frames.popleft()[1])
        return here

    def speed(self) -> float:
        """Of the hand, m/s."""
        inner = self.env.simulator
        data, jacobian = inner.sim.data._data, np.zeros((3, inner.sim.model.nv))
        mujoco.mj_jacSite(inner.sim.model._model, data, jacobian, None, inner.robots[0].eef_site_id["right"])
        return float(np.linalg.norm(jacobian @ data.qvel))

    def close(self) -> None:
        self._outer.close()

    def _step(self) -> None:
        control = self._loop.control
        if self._actions and self._actions[0][0] <= self._time + 1e-9:
            action = heapq.heappop(self._actions)[2].astype(np.float64)
            self._moving = True
            self._grip(action)
            self._loop.substep(lambda: control.begin(action))
        else:
            self._loop.substep(control.go_on if self._moving else self._brakes.write)

    def _grip(self, action: np.ndarray) -> None:
        """Let the fingers, which go on a little with every action, do so CONTROL_FREQ times a second at any rate."""
        due = self._grips_due + (self._time - self._gripped) * CONTROL_FREQ
        n = min(round(due), 2)
        self._gripped, self._grips_due = self._time, min(due - n, 0.5)
        robots = self.env.simulator.robots
        for robot, one in zip(robots, np.split(action, len(robots)), strict=True):
            for _ in range(n - 1):
                robot.gripper["right"].format_action(one[6:])
            if n < 1:
                one[6:] = 0  # the fingers' sign for staying

    def _take_frame(self) -> None:
        """What the camera sees now; it arrives late, in order, or never."""
        self._n_frames = int((self._time - self._begin) * self.line.camera_hz + 1e-6) + 1
        if self._random.random() < self.line.loss:
            return
        sim = self.env.simulator.sim
        mujoco.mj_forward(sim.model._model, sim.data._data)
        arrival = self._time + self._delay(self.line.camera_delay)
        if self._frames:
            arrival = max(arrival, self._frames[-1][0])
        self._frames.append((arrival, Reading(self.env.observe(), self._time, self.env.is_success())))

    def _delay(self, least: float) -> float:
        return least + self.line.jitter * float(self._random.random())


class Brakes:
    """Holds every arm's joints where they are; fingers keep their target."""

    def __init__(self, inner: Any) -> None:
        self._model, self._data = inner.sim.model._model, inner.sim.data._data
        self._mass = np.zeros((self._model.nv, self._model.nv))
        self._dofs = np.concatenate([robot._ref_joint_vel_indexes for robot in inner.robots])
        self._joints = np.concatenate([robot._ref_joint_pos_indexes for robot in inner.robots])
        self._motors = np.concatenate([robot._ref_actuators_indexes_dict["right"] for robot in inner.robots])
        self._low, self._high = self._model.actuator_ctrlrange[self._motors].T
        self.engage()

    def engage(self) -> None:
        self._posture = self._data.qpos[self._joints].copy()

    def write(self) -> None:
        mujoco.mj_fullM(self._model, self._mass, self._data.qM)
        wanted = -BRAKE * self._data.qvel[self._dofs] - BRAKE_SPRING * (self._data.qpos[self._joints] - self._posture)
        torques = self._data.qfrc_bias[self._dofs] + self._mass[np.ix_(self._dofs, self._dofs)] @ wanted
        self._data.ctrl[self._motors] = torques.clip(self._low, self._high)


def limits_of(env: Any) -> Limits | None:
    """Of one arm's hand under delta actions: the space over the table, and no more than the arm can do anyway.

    Turns have a speed, but no bounds. None for other arms.
    """
    if env.control != "delta" or env.task.n_arms != 1:
        return None
    anywhere = [np.inf] * 3
    return Limits(
        low=np.array([-0.8, -0.8, 0.75, *np.negative(anywhere)]),
        high=np.array([0.8, 0.8, 1.6, *anywhere]),
        speed=np.array([2.5] * 3 + [25.0] * 3),
        jerk=np.inf,
        scale=np.repeat([POSITION_SCALE, ROTATION_SCALE], 3),
        position=hand_position,
    )


def hand_position(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where the hand is, (6,); its turn, which has no bounds, as 0."""
    return np.concatenate([observation["robot0_eef_pos"], np.zeros(3)])


class SimulatedRobot:
    """A `Robot` on a simulated arm in this process, by whatever clock."""

    def __init__(self, arm: SimulatedArm, clock: Clock, seed: int = 0) -> None:
        self._arm, self._clock, self.seed = arm, clock, seed
        self.observation_space, self.action_space = arm.observation_space, arm.action_space
        self.action_delay = arm.line.action_delay
        self.limits = limits_of(arm.env)

    def connect(self) -> None:
        """Begin the episode of ``seed``."""
        self._arm.reset(self.seed, self._clock)

    def observe(self) -> Reading | None:
        now = self._clock.now()
        self._arm.advance(now)
        return next(reversed(self._arm.arrived(now)), None)

    def act(self, action: np.ndarray) -> None:
        self._arm.act(action, self._clock.now())

    def stop(self) -> None:
        self._arm.stop(self._clock.now())
