"""Promise: an arm that moves stops within 100 ms when camera, policy, the policy's server or the loop is killed.

Real processes, killed for real; times are those of the arm's own process, on the clock that all processes share. The
loop asks for priority, as `l1flow run` does, and the victim is given it, too, as a process on a busy machine dies late.
Where that is not allowed a busy machine may keep everything from running for a while, so each kill has a few tries.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from l1flow_agents.errors import RobotError
from l1flow_agents.realtime import ArmProcess, ArmSetup, Line, PolicyProcess, RemotePlanner, Run, run
from l1flow_agents.realtime.robot import ask_for_priority
from l1flow_agents.realtime.wire import Request, Spec, read_token

BOUND = 0.1  # seconds
TRIES = 4


class Wandering:
    """A planner that looks at nothing and has no process."""

    spec, plan = Spec({}, 1, 4, 12, 7, False), None

    def submit(self, request: Request) -> None:
        self.plan = np.random.default_rng(request.number).uniform(-1, 1, (12, 7)).astype(np.float32)

    def poll(self) -> np.ndarray | None:
        return self.plan


DRIVE = """
import sys
from l1flow_agents.realtime import ArmProcess, ArmSetup, run
from l1flow_agents.realtime.robot import ask_for_priority
from test_arm import Wandering

if __name__ == "__main__":
    with ArmProcess(ArmSetup("Lift-v0", dead_man=float(sys.argv[2]), journal=sys.argv[1])) as robot:
        ask_for_priority()
        run(robot, Wandering(), 20, 60, plan_hz=20)
"""


@pytest.fixture(scope="module")
def agent(make_agent, tmp_path_factory) -> str:
    """One that moves the arm about, and never lifts anything."""
    with gym.make("Lift-v0", obs_type="state") as env:
        made = make_agent(space=env.observation_space, action_space=env.action_space)
    path = tmp_path_factory.mktemp("agents") / "mover"
    made.save(path)
    return str(path)


@pytest.fixture
def journal(tmp_path) -> Path:
    return tmp_path / "journal.jsonl"


def setup(journal: Path, dead_man: float = 1.0) -> ArmSetup:
    return ArmSetup("Lift-v0", Line(jitter=0.005, loss=0.05), dead_man=dead_man, journal=str(journal))


def events(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def resets(journal: Path) -> list[int]:
    """Which events begin an episode."""
    return [k for k, one in enumerate(events(journal)) if one["event"] == "reset"]


def wait_for(condition: Callable[[], object], seconds: float = 250) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def kill(victim: int, number: int) -> float:
    """When it was sent the signal, on which it acts at once."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{victim}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(1))
    at = time.monotonic()
    os.kill(victim, number)
    return at


def killed(robot: ArmProcess, planner: RemotePlanner, victim: int, journal: Path) -> tuple[float, Run]:
    """Seconds from the death of a process in the midst of a run to the arm's stop, and what `run` says."""
    told: list[Run] = []

    def drive() -> None:
        ask_for_priority()  # this thread
        told.append(run(robot, planner, 20, 60, plan_hz=20))

    n_before = len(resets(journal))
    thread = threading.Thread(target=drive)
    thread.start()
    wait_for(lambda: len(resets(journal)) > n_before)
    n = resets(journal)[-1]
    time.sleep(0.5)
    assert thread.is_alive(), told
    at = kill(victim, signal.SIGKILL)
    thread.join(30)
    wait_for(lambda: [one for one in events(journal)[n:] if one["event"] == "stopped"])
    [stop] = [one for one in events(journal)[n:] if one["event"] == "stopped"]
    return stop["time"] - at, told[0]


def best_of(attempts: Iterator[float]) -> list[float]:
    """Times until one is within the bound."""
    taken = []
    for seconds in attempts:
        taken.append(seconds)
        if seconds <= BOUND:
            break
    return taken


def test_a_killed_policy_or_server_or_camera_stops_the_arm(agent, journal, tmp_path):
    with ArmProcess(setup(journal)) as robot:

        def policies() -> Iterator[float]:
            for _ in range(TRIES):
                with PolicyProcess(agent, "cpu") as planner:
                    seconds, told = killed(robot, planner, planner.process.pid, journal)
                assert told.stopped in ("the policy's process died", "the policy's server is gone") and told.ticks > 3
                yield seconds

        assert min(taken := best_of(policies())) <= BOUND, taken

        def servers() -> Iterator[float]:
            words = ["serve", agent, "--address", "tcp://127.0.0.1:*", "--token", str(tmp_path / "token")]
            for _ in range(TRIES):
                command = [sys.executable, "-m", "l1flow_agents.cli", *words]
                with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
                    address = re.search(r"tcp://\S+", server.stdout.readline())[0]
                    with RemotePlanner(address, read_token(tmp_path / "token")) as planner:
                        seconds, told = killed(robot, planner, server.pid, journal)
                assert told.stopped == "the policy's server is gone"
                yield seconds

        assert min(taken := best_of(servers())) <= BOUND, taken

        def cameras() -> Iterator[float]:
            seconds, told = killed(robot, Wandering(), robot.camera.pid, journal)
            assert "camera" in told.stopped
            yield seconds
            for _ in range(TRIES):
                with ArmProcess(setup(journal)) as other:
                    yield killed(other, Wandering(), other.camera.pid, journal)[0]

        assert min(taken := best_of(cameras())) <= BOUND, taken
        with pytest.raises(RobotError, match="camera"):
            robot.observe()
    wait_for(lambda: "at rest" in [one["event"] for one in events(journal)])


def test_the_arm_stops_without_its_loop(journal, tmp_path):
    """Killed, or frozen: the arm's own process sees to it."""
    script = tmp_path / "drive.py"
    script.write_text(DRIVE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

    def attempts(number: int, dead_man: float) -> Iterator[float]:
        for _ in range(TRIES):
            n_before = len(resets(journal))
            words = [str(journal), str(dead_man)]
            with subprocess.Popen([sys.executable, str(script), *words], env=env) as loop:
                wait_for(lambda n_before=n_before: len(resets(journal)) > n_before)
                n = resets(journal)[-1]
                time.sleep(0.5)
                at = kill(loop.pid, number)
                wait_for(lambda n=n: "stopped" in [one["event"] for one in events(journal)[n:]])
                loop.kill()
            [stop] = [one for one in events(journal)[n:] if one["event"] == "stopped"]
            yield stop["time"] - at if stop["time"] > at else np.inf  # it stopped before: the machine is too busy

    assert min(taken := best_of(attempts(signal.SIGKILL, 1.0))) <= BOUND, taken
    assert events(journal)[-1]["event"] in ("stopped", "at rest")
    assert min(taken := best_of(attempts(signal.SIGSTOP, 0.06))) <= BOUND, taken
