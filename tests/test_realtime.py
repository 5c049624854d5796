"""Promise: the loop keeps its beat and its limits whatever plans and cameras do. Time is virtual."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from l1flow_agents import L1FlowAgent, open_dataset
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.errors import ConfigError, RobotError
from l1flow_agents.methods import METHODS
from l1flow_agents.realtime import Limits, Line, Patience, Reading, run
from l1flow_agents.realtime.lerobot_robot import LeRobotRobot
from l1flow_agents.realtime.limits import Limiter
from l1flow_agents.realtime.planning import DelayedPlanner, plan, spec_of
from l1flow_agents.realtime.robot import VirtualClock
from l1flow_agents.realtime.schedule import Schedule
from l1flow_agents.realtime.simulated_arm import SimulatedArm, SimulatedRobot
from l1flow_agents.realtime.wire import Request, Spec


class Counting:
    """A robot whose one number is the time, and which notes what it was told."""

    observation_space = spaces.Dict({"time": spaces.Box(-np.inf, np.inf, (1,), np.float64)})
    action_space = spaces.Box(-1e6, 1e6, (1,), np.float64)
    action_delay, limits = 0.0, None

    def __init__(self, clock: VirtualClock, blind_from: float = math.inf) -> None:
        self.clock, self.blind_from, self.told, self.stops = clock, blind_from, [], 0

    def connect(self) -> None:
        pass

    def observe(self) -> Reading | None:
        now = self.clock.now()
        return Reading({"time": np.array([now])}, now) if now < self.blind_from else None

    def act(self, action: np.ndarray) -> None:
        self.told.append((self.clock.now(), float(action[0])))

    def stop(self) -> None:
        self.stops += 1


class Prophet:
    """Plans whose row i is the time at which it should take effect, at ``hz`` rows a second."""

    spec = Spec({"time": ((1,), "float64")}, 2, 4, 12, 1, True)

    def __init__(self, clock: VirtualClock, hz: float, delay: float) -> None:
        self.clock, self.hz, self.delay, self.asked = clock, hz, delay, []

    def submit(self, request: Request) -> None:
        self.asked.append((self.clock.now(), request))

    def poll(self) -> np.ndarray | None:
        if not self.asked or self.clock.now() < self.asked[-1][0] + self.delay:
            return None
        return self.asked[-1][1].history["time"][-1] + np.arange(12)[:, None] / self.hz


@pytest.mark.parametrize("delay", [0.01, 0.12, 0.2])
@pytest.mark.parametrize("hz", [20.0, 50.0])
def test_actions_are_for_the_time_at_which_they_are_sent(hz, delay):
    clock = VirtualClock()
    robot, planner = Counting(clock), Prophet(clock, 20, delay)
    told = run(robot, planner, hz, 4, plan_hz=20, clock=clock)
    assert told.stopped is None and told.ticks == 4 * hz and told.held <= math.ceil(delay * hz) + 1
    for now, meant in robot.told:
        assert -1e-6 <= now - meant < 1 / 20 + 1e-6, "what is late is dropped, what is early waits"
    assert (told.late_rows > 0 or delay < 0.05) and robot.stops == 1
    for _, request in planner.asked[1:]:
        assert request.weights[0] == 1, "what is sent meanwhile is settled"
        assert (np.diff(request.weights) <= 0).all(), "and less and less what is behind"


def test_in_sequence_the_robot_waits_and_nothing_is_late():
    clock = VirtualClock()
    robot, planner = Counting(clock), Prophet(clock, 20, 0.1)
    told = run(robot, planner, 20, 4, clock=clock, sequential=True)
    gaps = np.diff([now for now, _ in robot.told])
    assert told.late_rows == 0 and gaps[3::4].min() > 0.14 and np.delete(gaps, np.s_[3::4]).max() < 0.051
    assert not any(request.weights.any() for _, request in planner.asked)


def test_silence_stops_the_robot():
    clock = VirtualClock()
    robot = Counting(clock, blind_from=1.0)
    told = run(robot, Prophet(clock, 20, 0.01), 20, 4, clock=clock, patience=Patience(reading=0.2))
    assert "no new reading" in told.stopped and robot.stops == 1 and 1.15 < clock.now() < 1.25
    clock = VirtualClock()
    robot = Counting(clock)
    told = run(robot, Prophet(clock, 20, 99), 20, 4, clock=clock, patience=Patience(plan=0.3))
    assert "no plan" in told.stopped and robot.stops == 1 and clock.now() < 0.4


def test_whatever_happens_the_robot_is_stopped(monkeypatch):
    clock = VirtualClock()
    for error in (RobotError("gone"), KeyboardInterrupt()):
        robot, planner = Counting(clock), Prophet(clock, 20, 0.01)
        monkeypatch.setattr(planner, "poll", lambda error=error: (_ for _ in ()).throw(error))
        if isinstance(error, RobotError):
            assert run(robot, planner, 20, 1, clock=clock).stopped == "gone"
        else:
            with pytest.raises(KeyboardInterrupt):
                run(robot, planner, 20, 1, clock=clock)
        assert robot.stops == 1


def test_a_robot_that_does_not_fit_is_refused_before_it_moves():
    clock = VirtualClock()
    robot, planner = Counting(clock), Prophet(clock, 20, 0.01)
    planner.spec = Spec({"joints": ((3,), "float32")}, 1, 4, 12, 1, True)
    with pytest.raises(ConfigError, match="looks at 'joints', the robot shows \\['time'\\]"):
        run(robot, planner, 20, 1, clock=clock)
    assert not robot.told and not robot.stops


def test_schedule_keeps_no_more_than_a_plan_on_either_side():
    schedule = Schedule(12, 1, ticks_per_row=2.5)
    for now in range(0, 500, 7):
        schedule.join(np.zeros((12, 1)), now - 3.3, now)
        assert len(schedule) <= 2 * 30


@pytest.mark.parametrize("scale", [None, 0.5])
def test_limits_hold_for_any_actions(scale):
    rng, hz = np.random.default_rng(0), 50.0
    where = np.zeros(2)
    measured = {"position": where}
    limits = Limits(-1, 1, speed=2.0, jerk=400.0, scale=scale, position=lambda one: one["position"])
    limiter, path = Limiter(limits, hz), [where.copy()] * 3
    for action in rng.choice([-9, 9, 0], (25, 3)).astype(np.float32).repeat(40, axis=0):
        sent = limiter(action, measured)
        assert sent[2] == action[2] and sent.dtype == np.float32, "the gripper is its own affair"
        where[:] = sent[:2] if scale is None else where + sent[:2] * scale
        path.append(where.copy())
    path = np.array(path)
    assert np.abs(path).max() <= 1 + 1e-5
    assert np.abs(np.diff(path, axis=0)).max() * hz <= 2 + 1e-3
    jerk = np.abs(np.diff(path, 3, axis=0)) * hz**3
    free = np.ones_like(jerk, bool) if scale is None else np.abs(path[3:]) < 0.999  # at a wall, steps end at once
    free[1:] &= free[:-1].copy()
    free[2:] &= free[:-2].copy()
    assert jerk[free].max() <= 400 * 1.001 and np.abs(path).max() > 0.5


@pytest.mark.parametrize("method", ["l1flow", "flow_matching", "ddpm"])
def test_a_plan_continues_what_is_settled(make_agent, method):
    agent = make_agent(method=method, n_obs_steps=2)
    spec = spec_of(agent)
    assert spec.continues
    history = {"pos": np.zeros((2, 3), np.float32)}
    free = Request(0, 1, history, np.zeros((spec.n_rows, 2), np.float32), np.zeros(spec.n_rows, np.float32))
    known = plan(agent, free)[::-1].copy()
    weights = np.r_[np.ones(4), np.linspace(0.9, 0.1, 4), np.zeros(spec.n_rows - 8)].astype(np.float32)
    made = plan(agent, Request(0, 1, history, known, weights))
    np.testing.assert_allclose(made[:4], known[:4], atol=1e-4)
    assert np.abs(made[8:] - plan(agent, free)[8:]).max() > 1e-4, "the rest knows of it"


def test_other_methods_say_that_they_cannot(make_agent):
    agent = make_agent(method="edm")
    assert not spec_of(agent).continues
    with pytest.raises(ConfigError, match="EDM cannot continue a chunk"):
        METHODS["edm"]().imposing(lambda *_: None, None, None)


def test_a_simulated_arm_lifts_by_its_clock_and_is_recorded(tmp_path):
    agent = L1FlowAgent.load("agents/lift-state", device="cpu")
    line = Line(camera_delay=0.05, action_delay=0.02, jitter=0.01, loss=0.1)
    arm = SimulatedArm("Lift-v0", line)
    rows = []
    for _ in range(2):
        clock = VirtualClock()
        robot = SimulatedRobot(arm, clock, seed=50000)
        told = run(robot, DelayedPlanner(agent, clock, lambda: 0.1), 20, 12, plan_hz=20, clock=clock, record=True)
        rows.append([*told.summary().items()])
    assert told.done and rows[0] == rows[1], "the same on any machine, however busy"
    for ms in range(5, 500, 5):
        arm.advance(clock.now() + ms / 1000)
    assert arm.rested_at - arm.stopped_at < 0.15 and arm.speed() < 0.02
    with (
        gym.make("Lift-v0", obs_type="state") as env,
        RobomimicWriter(tmp_path / "run.hdf5", env.unwrapped.env_args()) as writer,
    ):
        writer.append(told.demonstration())
    episodes = open_dataset(tmp_path / "run.hdf5")
    assert len(episodes) == 1 and episodes.n_steps == told.ticks - told.held
    np.testing.assert_array_equal(episodes.actions[-1], told.steps[-1][2])


def test_fingers_close_at_one_speed_whatever_the_rate():
    arm, opening = SimulatedArm("Lift-v0", Line()), []
    for hz in (10, 20, 50):
        clock = VirtualClock()
        arm.reset(50000, clock)
        for tick in range(int(0.9 * hz)):
            arm.act(np.r_[np.zeros(6), -1 if tick < 0.6 * hz else 1].astype(np.float32), clock.now())
            for _ in range(round(1000 / hz)):
                clock.sleep(clock.now() + 1e-3)
                arm.advance(clock.now())
        opening.append(np.abs(arm.env.observe()["robot0_gripper_qpos"]).sum())
    assert min(opening) > 0.01 and max(opening) < 1.25 * min(opening)


class Motors:
    """What LeRobot's robots look like from outside."""

    observation_features = {"a.pos": float, "b.pos": float, "top": (4, 5, 3)}
    action_features = {"a.pos": float, "b.pos": float}
    is_connected, fails = False, False

    def connect(self):
        self.is_connected, self.where = True, {"a.pos": 1.0, "b.pos": 2.0}

    def disconnect(self):
        self.is_connected = False

    def get_observation(self):
        if self.fails:
            raise ConnectionError("no status packet")
        return {**self.where, "top": np.full((4, 5, 3), 7, np.uint8)}

    def send_action(self, goals):
        self.where = goals


def test_lerobots_robots_are_robots():
    motors = Motors()
    robot = LeRobotRobot(motors)
    assert robot.observation_space["state"].shape == (2,) and robot.action_space.shape == (2,)
    robot.connect()
    while (reading := robot.observe()) is None:
        pass
    assert reading.observation["state"].tolist() == [1, 2] and reading.observation["top"].max() == 7
    robot.act(np.array([3, 4], np.float32))
    assert motors.where == {"a.pos": 3, "b.pos": 4}
    robot.stop()
    robot.act(np.array([9, 9], np.float32))
    assert motors.where != {"a.pos": 9, "b.pos": 9}
    motors.fails = True
    with pytest.raises(RobotError, match="no status packet"):
        while True:
            robot.observe()
    robot.close()
    assert not motors.is_connected
