"""A simulated arm with a time of its own: physics in one process, the camera in another, and the `Robot` over both."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.errors import ConfigError, RobotError
from l1flow_agents.realtime.camera_process import hand_on, writable
from l1flow_agents.realtime.robot import Reading, WallClock, ask_for_priority
from l1flow_agents.realtime.simulated_arm import Line, SimulatedArm, limits_of
from l1flow_agents.spawning import CONTEXT, packed, unpacked

PERIOD = 0.004  # seconds between two looks of the arm at its clock and its pipes
LEFT = 0.001  # of them left to others at least, before whom it runs, where a slow machine makes it late
STARTING = 120.0  # seconds that building the simulator may take


@dataclass(frozen=True)
class ArmSetup:
    """All that the process of an arm needs."""

    env_id: str
    line: Line = field(default_factory=Line)
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    dead_man: float = 0.06
    """Seconds without a word of the loop after which the arm stops by itself."""
    journal: str | None = None
    """File to which the arm writes what happens to it, a line of JSON each: event, time and reason."""


class ArmProcess:
    """The `Robot` of a simulated arm in processes of its own, which moves whatever this program does.

    The arm stops by itself when its camera or this program is gone, or silent for `ArmSetup.dead_man`.

    Args:
        setup: which arm, and what lies between.
        seed: of the episode that the next `connect` begins.

    Raises:
        ConfigError: no such environment.

    Example::

        with ArmProcess(ArmSetup("Lift-v0"), seed=50000) as robot:
            told = run(robot, planner, hz=20, seconds=20)
    """

    def __init__(self, setup: ArmSetup, seed: int = 0) -> None:
        self.seed, self._ready, self._stopped = seed, False, True
        self._commands, theirs = CONTEXT.Pipe()
        self._frames, from_camera = CONTEXT.Pipe(duplex=True)
        to_camera, from_arm = CONTEXT.Pipe(duplex=True)
        data = packed(setup, f"arm {setup.env_id}")
        self.arm = CONTEXT.Process(target=live, args=(theirs, to_camera, data), daemon=True, name="l1flow arm")
        self.camera = CONTEXT.Process(target=hand_on, args=(from_arm, from_camera), daemon=True, name="l1flow camera")
        for process in (self.arm, self.camera):
            process.start()
        for end in (theirs, from_camera, to_camera, from_arm):
            end.close()
        told = self._answer(STARTING)
        if isinstance(told, str):
            self.close()
            raise ConfigError(told)
        self.observation_space, self.action_space, self.limits = told
        self.action_delay = setup.line.action_delay

    def connect(self) -> None:
        """Begin the episode of ``seed``."""
        self._say("reset", self.seed)
        while self._answer(STARTING) != "ready":  # but why the last episode stopped
            pass
        while self._frames.poll():  # of the last episode
            self._frames.recv_bytes()
        self._stopped = False

    def observe(self) -> Reading | None:
        if not self.arm.is_alive():
            raise RobotError("the arm's process died")
        if not self.camera.is_alive():
            raise RobotError("the camera's process died")
        self._say("beat")
        newest = None
        try:
            if self._commands.poll():
                raise RobotError(f"the arm stopped: {self._commands.recv()}")
            while self._frames.poll():
                newest = self._frames.recv_bytes()
        except (EOFError, OSError):
            raise RobotError("the arm or its camera closed its pipe") from None
        return None if newest is None else pickle.loads(newest)  # of our own process

    def act(self, action: np.ndarray) -> None:
        if not self._stopped:
            self._say("act", action, time.monotonic())

    def stop(self) -> None:
        self._stopped = True
        with suppress(RobotError):
            self._say("stop")

    def close(self) -> None:
        """End the processes."""
        self.stop()
        with suppress(RobotError):
            self._say("close")
        self.arm.join(2)
        for process in (self.arm, self.camera):
            process.kill()
            process.join()
        for pipe in (self._commands, self._frames):
            pipe.close()

    def __enter__(self) -> ArmProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, *words: Any) -> None:
        try:
            if not writable(self._commands):
                raise RobotError("the arm's process does not read what it is told")
            self._commands.send(words)
        except (OSError, ValueError):  # ValueError: select's, of a closed pipe
            raise RobotError("the arm's process is gone") from None

    def _answer(self, timeout: float) -> Any:
        """What the arm says next, before it moves."""
        if not wait([self._commands, self.arm.sentinel], timeout):
            raise RobotError(f"the arm gave no answer in {timeout:.0f} s")
        try:
            return self._commands.recv()
        except (EOFError, OSError):
            self.arm.join(5)
            raise RobotError(f"the arm's process died (exit code {self.arm.exitcode})") from None


def live(loop: Connection, camera: Connection, data: bytes) -> None:
    """The life of the arm's process: physics by the clock, until told to close, or at rest when the loop is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loop's
    setup: ArmSetup = unpacked(data)
    try:
        arm = SimulatedArm(setup.env_id, setup.line, setup.env_kwargs)
        arm.warm_up()
        loop.send((arm.observation_space, arm.action_space, limits_of(arm.env)))
    except Exception as error:  # whatever a simulator raises
        loop.send(f"{setup.env_id}: {' '.join(str(error).split())}")
        return
    _Life(arm, loop, camera, setup).run()
    arm.close()


class _Life:
    def __init__(self, arm: SimulatedArm, loop: Connection, camera: Connection, setup: ArmSetup) -> None:
        self._arm, self._loop, self._camera, self._setup = arm, loop, camera, setup
        self._moves = self._rested = False
        self._orphaned = False
        self._heard = 0.0

    def run(self) -> None:
        turn = time.monotonic()
        while True:
            self._loop.poll(max(turn - time.monotonic(), LEFT)) if not self._orphaned else time.sleep(PERIOD)
            turn = time.monotonic() + PERIOD
            if self._listen() == "close":
                return
            if not self._moves:
                continue
            now = time.monotonic()
            if now - self._heard > self._setup.dead_man and not self._orphaned:
                self._stop(f"no word of the loop in {1e3 * self._setup.dead_man:.0f} ms")
            self._arm.advance(now)
            self._show(now)
            if self._arm.rested_at is not None and not self._rested:
                self._rested = True
                self._note("at rest", "")
            if self._orphaned and self._rested:
                return

    def _listen(self) -> str:
        """Do what the loop said."""
        try:
            while not self._orphaned and self._loop.poll():
                word, *rest = self._loop.recv()
                self._heard = time.monotonic()
                if word == "act":
                    self._arm.act(*rest)
                elif word == "stop":
                    self._stop("told to")
                elif word == "reset":
                    self._arm.reset(rest[0], WallClock())
                    ask_for_priority()
                    self._heard, self._moves, self._rested = time.monotonic(), True, False
                    self._note("reset", "")
                    self._loop.send("ready")
                elif word == "close":
                    return "close"
        except (EOFError, OSError):
            self._orphaned = True
            if not self._moves:
                return "close"
            self._stop("the loop is gone")
        return ""

    def _show(self, now: float) -> None:
        try:
            for reading in self._arm.arrived(now):
                if writable(self._camera):
                    self._camera.send_bytes(pickle.dumps(reading))
        except OSError:
            self._stop("the camera is gone")

    def _stop(self, reason: str) -> None:
        if self._moves and self._arm.stopped_at is None:
            self._arm.stop(time.monotonic())
            self._note("stopped", reason)
            if not self._orphaned and reason != "told to":
                with suppress(OSError):
                    self._loop.send(reason)

    def _note(self, event: str, reason: str) -> None:
        if self._setup.journal is None:
            return
        line = {"event": event, "time": time.monotonic(), "reason": reason, "behind": self._arm.behind}
        with Path(self._setup.journal).open("a") as file:
            file.write(json.dumps(line) + os.linesep)
