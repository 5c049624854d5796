"""The control loop: one action a tick, whatever the planner and the cameras do."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from l1flow_agents.errors import ConfigError, RobotError
from l1flow_agents.realtime.limits import Limiter
from l1flow_agents.realtime.recording import Run
from l1flow_agents.realtime.robot import Clock, Planner, Reading, Robot, WallClock
from l1flow_agents.realtime.schedule import Schedule
from l1flow_agents.realtime.wire import Request

SLICE = 0.005  # seconds between two looks at robot and planner: what a death may take to be noticed
DELAYS = 8  # plans whose longest delay is what the next one is expected to take


@dataclass(frozen=True)
class Patience:
    """How long the loop goes on without news, seconds."""

    reading: float = 0.5
    """Without a new reading."""
    plan: float = 2.0
    """Without a plan that was asked for."""


def run(
    robot: Robot,
    planner: Planner,
    hz: float,
    seconds: float,
    *,
    plan_hz: float | None = None,
    clock: Clock | None = None,
    sequential: bool = False,
    seed: int = 0,
    patience: Patience | None = None,
    record: bool = False,
) -> Run:
    """Let ``planner`` move ``robot``, ``hz`` actions a second, for ``seconds`` at most; then and on any error, stop it.

    Asynchronous, the robot acts while the next plan is made: rows of a plan are for the time from its reading on, those
    that are late are dropped, and the plan continues what was settled meanwhile. Sequential, the robot holds still
    while a plan is made, and then executes `n_action_steps` of it. A robot, camera or planner that is gone ends the run
    within milliseconds, one that is silent within ``patience``; `Run.stopped` says which.

    Args:
        plan_hz: rows of a plan a second, as in the data that the agent learned from; None for ``hz``.
        seed: of the plans' noise.
        record: keep `Run.steps`.

    Raises:
        ConfigError: the robot does not show what the planner looks at, or takes other actions.
    """
    check_fit(robot, planner)
    plan_hz = hz if plan_hz is None else plan_hz
    if not (0 < hz <= 1000 and 0 < plan_hz <= 1000 and 0 < seconds < math.inf):
        raise ConfigError(f"expected rates in (0, 1000] and a time to run, got {hz}, {plan_hz} and {seconds}")
    loop = _Loop(robot, planner, hz, plan_hz, seconds, clock or WallClock(), sequential, seed, record)
    loop.patience = patience or Patience()
    try:
        robot.connect()
        loop.run()
    except RobotError as error:
        loop.told.stopped = str(error)
    finally:
        robot.stop()
    return loop.finished()


def check_fit(robot: Robot, planner: Planner) -> None:
    for key, (shape, dtype) in planner.spec.observations.items():
        if key not in robot.observation_space.spaces:
            raise ConfigError(f"the agent looks at {key!r}, the robot shows {sorted(robot.observation_space.spaces)}")
        if (found := robot.observation_space[key]).shape != shape:
            raise ConfigError(f"the agent looks at {key!r} of shape {shape}, the robot's has {found.shape} ({dtype})")
    if robot.action_space.shape != (planner.spec.action_dim,):
        raise ConfigError(f"the agent's actions are {planner.spec.action_dim}, the robot's {robot.action_space.shape}")


class _Loop:
    def __init__(
        self,
        robot: Robot,
        planner: Planner,
        hz: float,
        plan_hz: float,
        seconds: float,
        clock: Clock,
        sequential: bool,
        seed: int,
        record: bool,
    ) -> None:
        self.robot, self.planner, self.clock, self.hz, self.plan_hz = robot, planner, clock, hz, plan_hz
        self.sequential, self.seed, self.record, self.patience = sequential, seed, record, Patience()
        self.seconds, self.n_ticks = seconds, math.ceil(seconds * hz)
        self.told = Run(hz)
        self._spec = planner.spec
        self._ticks_per_row = hz / plan_hz
        self._schedule = Schedule(self._spec.n_rows, self._spec.action_dim, self._ticks_per_row)
        self._limiter = Limiter(robot.limits, hz) if robot.limits else None
        self._readings: deque[Reading] = deque(maxlen=16 * self._spec.n_obs_steps)
        self._asked: tuple[int, float] | None = None  # tick of the request under way, and its first row's
        self._first = -math.inf  # tick of the present plan's first row
        self._delays: deque[int] = deque([1], maxlen=DELAYS)
        self._late = np.zeros(self.n_ticks, np.float32)
        self._ready: np.ndarray | None = None
        self.begin = self._heard = self._asked_at = 0.0

    def finished(self) -> Run:
        self.told.lateness = self._late[: self.told.ticks]
        return self.told

    def run(self) -> None:
        self._begin()
        start, tick = self.begin, 0
        while tick < self.n_ticks:
            self._wait(self.begin + tick / self.hz)
            now = self.clock.now()
            if now - start > self.seconds:  # with the pauses
                return
            self._late[self.told.ticks] = max(now - self.begin - tick / self.hz, 0)
            passed = int((now - self.begin) * self.hz + 1e-6)
            if passed > tick:  # an action for a time that is over helps nobody
                self.told.skipped += passed - tick
                tick = min(passed, self.n_ticks - 1)
            self._tick(tick)
            self.told.ticks += 1
            tick += 1
            self.told.seconds = self.clock.now() - start
            if self._readings[-1].done:
                self.told.done = True
                return

    def _begin(self) -> None:
        """Wait for the first reading; the time of tick 0 is then."""
        self._heard = self.clock.now()
        while not self._readings:
            self._look()
            self.clock.sleep(self.clock.now() + SLICE)
        self.begin = self.clock.now()

    def _wait(self, until: float) -> None:
        """Until then, with an eye on robot and planner."""
        while True:
            self._look()
            now = self.clock.now()
            if now >= until - 1e-9:
                return
            self.clock.sleep(min(until, now + SLICE))

    def _look(self) -> None:
        now, reading = self.clock.now(), self.robot.observe()
        if reading is not None and (not self._readings or reading.time > self._readings[-1].time):
            self._readings.append(reading)
            self._heard = now
        if now - self._heard > self.patience.reading:
            raise RobotError(f"no new reading in {self.patience.reading:g} s: does a camera hang?")
        made = self.planner.poll()
        if made is not None and self._asked is not None:
            self._ready = made
        elif self._asked is not None and self._ready is None and now - self._asked_at > self.patience.plan:
            raise RobotError(f"no plan in {self.patience.plan:g} s: does the policy hang?")

    def _tick(self, tick: int) -> None:
        self._join(tick)
        if self._asked is None and self._is_due(tick):
            self._ask(tick)
            if self.sequential:
                self._pause(tick)
        action = self._schedule.at(tick)
        if action is None:
            self.told.held += 1
            return
        newest = self._readings[-1]
        if self._limiter:
            action = self._limiter(action, newest.observation)
        self._schedule.sent(tick, action)
        action = action.clip(self.robot.action_space.low, self.robot.action_space.high)
        self.robot.act(action)
        if self.record:
            self.told.steps.append((self.clock.now(), newest, action))

    def _is_due(self, tick: int) -> bool:
        """Whether to begin a plan, so that it is there when `n_action_steps` of the present one are done."""
        if self.sequential:
            return self._schedule.at(tick) is None
        return tick + max(self._delays) - self._first >= self._spec.n_action_steps * self._ticks_per_row

    def _ask(self, tick: int) -> None:
        history, newest = self._history()
        first = (newest.time - self.begin - self.robot.action_delay) * self.hz  # when to send what is for that time
        actions, weights = self._schedule.settled(first, tick + max(self._delays))
        if self.sequential or not self._spec.continues:
            weights[:] = 0
        self.planner.submit(Request(self.told.plans, self.seed, history, actions, weights))
        self._asked, self._asked_at, self._ready = (tick, first), self.clock.now(), None
        self.told.plans += 1

    def _history(self) -> tuple[dict[str, np.ndarray], Reading]:
        """Observations a row apart up to the newest; of each time the nearest."""
        newest = self._readings[-1]
        times = newest.time - np.arange(self._spec.n_obs_steps)[::-1] / self.plan_hz
        taken = np.array([one.time for one in self._readings])
        chosen = [self._readings[np.abs(taken - time).argmin()] for time in times]
        return {key: np.stack([one.observation[key] for one in chosen]) for key in self._spec.observations}, newest

    def _join(self, tick: int) -> None:
        if self._ready is None or self._asked is None:
            return
        (asked, first), plan, self._asked, self._ready = self._asked, self._ready, None, None
        delay = tick - asked
        self.told.delays.append(delay)
        if self.sequential:
            first, plan = tick, plan[: self._spec.n_action_steps]
        else:
            self._delays.append(max(delay, 1))
        self.told.late_rows += self._schedule.join(plan, first, tick)
        self._first = first

    def _pause(self, tick: int) -> None:
        """Hold still until the plan is there; the ticks that this takes do not count."""
        began = self.clock.now()
        while self._ready is None:
            self.clock.sleep(self.clock.now() + SLICE / 5)
            self._look()
        self.begin += self.clock.now() - began
        self._join(tick)
