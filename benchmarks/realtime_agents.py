"""Agents for `realtime.py`, of the simulated arm's own recordings: the task's expert drives it by its late camera.

    python benchmarks/realtime_agents.py --env Square-v0 -n 600      an hour on one core

Records the episodes that succeed, on a virtual clock, then trains one agent a method with the network, rate and steps
of the task's configuration. What is there already is not made again. Seeds from 10000.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np

from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.collection import fill
from l1flow_agents.demonstrations.recording import env_args_of
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.realtime import Line, run
from l1flow_agents.realtime.robot import VirtualClock
from l1flow_agents.realtime.simulated_arm import SimulatedArm, SimulatedRobot
from l1flow_agents.realtime.wire import Request, Spec
from l1flow_agents.seeds import COLLECTION_SEED

RUNS = Path("runs/realtime")
METHODS = ("l1flow", "flow_matching", "ddpm")
LINE = Line(camera_delay=0.02, action_delay=0.01, jitter=0.005, loss=0.02)
HZ = 20  # of the recordings, so of the plans' rows
TIME = 12.0  # seconds that an episode may take, twice what the expert does


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Square-v0")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("-n", "--episodes", type=int, default=600)
    parser.add_argument("--workers", type=int, default=1, help="processes that record")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where recordings and agents are kept")
    parser.add_argument("overrides", nargs="*", metavar="part.setting=value", help="of the configuration")
    args = parser.parse_args()
    file = args.runs / f"{args.env}.hdf5"
    file.parent.mkdir(parents=True, exist_ok=True)
    record(args.env, args.episodes, file, args.workers)
    for method in args.methods:
        train(args.env, method, file, args.runs, args.overrides)


def agent_of(runs: Path, env_id: str, method: str) -> Path:
    return runs / f"{env_id}-{method}" / "agent"


def record(env_id: str, n: int, file: Path, n_workers: int) -> None:
    """Add to the file until it holds ``n`` episodes in which the expert succeeds."""
    with gym.make(env_id, obs_type="state") as env:
        described = env_args_of(env, env_id)
    with RobomimicWriter(file, described) as writer:
        fill(writer, partial(driven, env_id), n, n_workers, COLLECTION_SEED, True, f"{env_id}: the expert")


@contextmanager
def driven(env_id: str) -> Iterator[Callable[[int], Demonstration | None]]:
    """Runs episodes in which the expert drives one arm; yields what gives that of a seed, None where it failed."""
    arm, clock = SimulatedArm(env_id, LINE), VirtualClock()

    def episode(seed: int) -> Demonstration | None:
        robot, expert = SimulatedRobot(arm, clock, seed), ExpertPlanner(env_id, arm, seed)
        told = run(robot, expert, HZ, TIME, clock=clock, sequential=True, record=True)
        return told.demonstration() if told.done else None

    yield episode
    arm.close()


@dataclass
class ExpertPlanner:
    """The task's expert as a planner of one action, at once."""

    env_id: str
    arm: SimulatedArm
    seed: int

    def __post_init__(self) -> None:
        self._expert = make_expert(self.env_id, np.random.default_rng(self.seed))
        boxes = self.arm.observation_space.spaces
        shapes = {key: (box.shape or (), str(box.dtype)) for key, box in boxes.items()}
        self.spec = Spec(shapes, 1, 1, 1, int(self.arm.action_space.shape[0]), continues=False)

        self._made: np.ndarray | None = None

    def submit(self, request: Request) -> None:
        self._made = self._expert.act({key: past[-1] for key, past in request.history.items()})[None]

    def poll(self) -> np.ndarray | None:
        made, self._made = self._made, None
        return made


def train(env_id: str, method: str, file: Path, runs: Path, overrides: list[str]) -> None:
    config = f"{env_id.removesuffix('-v0').lower()}-state"
    where = agent_of(runs, env_id, method).parent
    told = [config, "--dataset", file, "--run-dir", where, "--threads", 1, f"agent.method={method}", *overrides]
    subprocess.run([sys.executable, "-m", "l1flow_agents.cli", "train", *map(str, told)], check=True)


if __name__ == "__main__":
    main()
