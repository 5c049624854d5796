"""Agents for `realtime.py`, of the simulated arm's own recordings: the task's expert drives it by its late camera.

    python benchmarks/realtime_agents.py --env Square-v0 -n 400      an hour on one core

Actions are poses of the hand, as those of real arms are: a step from where it is would be another one when it comes
late. Records the episodes that succeed, on a virtual clock, then trains one agent a method with the network, rate and
steps of the task's configuration. What is there already is not made again. Seeds from 10000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np

from l1flow_agents.agent import ChunkAgent
from l1flow_agents.data import open_dataset
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.demonstrations.collection import fill
from l1flow_agents.demonstrations.generation.segments import action_target
from l1flow_agents.demonstrations.recording import env_args_of
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.experiments import read_experiment
from l1flow_agents.realtime import Line, run
from l1flow_agents.realtime.robot import VirtualClock
from l1flow_agents.realtime.simulated_arm import SimulatedArm, SimulatedRobot
from l1flow_agents.realtime.wire import Request, Spec
from l1flow_agents.rotations import (
    POSE_6D,
    homogeneous,
    matrix_to_rotation_6d,
    pose_to_axis_angle,
    quaternion_to_matrix,
)
from l1flow_agents.seeds import COLLECTION_SEED
from l1flow_agents.wrappers import Rotation6dAction

RUNS = Path("runs/realtime")
METHODS = ("l1flow", "flow_matching", "ddpm")
LINE = Line(camera_delay=0.02, action_delay=0.01, jitter=0.005, loss=0.02)
HZ = 20  # of the recordings, so of the plans' rows
N_ACTION_STEPS = 12  # of 16; with 4 and 8 the hand goes up and down over the peg, as one observation does not say which
TIME = 12.0  # seconds that an episode may take, twice what the expert does


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Square-v0")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("-n", "--episodes", type=int, default=400)
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


def make_env(env_id: str) -> gym.Env:
    """With the arm's observations and actions."""
    return Rotation6dAction(gym.make(env_id, obs_type="state", control="absolute"))


class PoseRobot(SimulatedRobot):
    """Goes to poses [position 3, rotation-6d 6, gripper 1]."""

    def __init__(self, arm: SimulatedArm, clock: VirtualClock, seed: int) -> None:
        super().__init__(arm, clock, seed)
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (POSE_6D,), np.float32)

    def act(self, action: np.ndarray) -> None:
        super().act(pose_to_axis_angle(action))


def make_arm(env_id: str) -> SimulatedArm:
    return SimulatedArm(env_id, LINE, {"control": "absolute"})


# ---- recordings ---------------------------------------------------------------------------------------------------


def record(env_id: str, n: int, file: Path, n_workers: int) -> None:
    """Add to the file until it holds ``n`` episodes in which the expert succeeds."""
    with make_env(env_id) as env:
        described = env_args_of(env, env_id)
    with RobomimicWriter(file, described) as writer:
        fill(writer, partial(driven, env_id), n, n_workers, COLLECTION_SEED, True, f"{env_id}: the expert")


@contextmanager
def driven(env_id: str) -> Iterator[Callable[[int], Demonstration | None]]:
    """Runs episodes in which the expert drives one arm; yields what gives that of a seed, None where it failed."""
    arm, clock = make_arm(env_id), VirtualClock()

    def episode(seed: int) -> Demonstration | None:
        robot, expert = PoseRobot(arm, clock, seed), ExpertPlanner(env_id, arm, seed)
        told = run(robot, expert, HZ, TIME, clock=clock, sequential=True, record=True)
        return told.demonstration() if told.done else None

    yield episode
    arm.close()


class ExpertPlanner:
    """The task's expert, whose actions are steps, as a planner of one pose, at once."""

    def __init__(self, env_id: str, arm: SimulatedArm, seed: int) -> None:
        self._expert, self._arm = make_expert(env_id, np.random.default_rng(seed)), arm
        shapes = {key: (box.shape or (), str(box.dtype)) for key, box in arm.observation_space.spaces.items()}
        self.spec = Spec(shapes, 1, 1, 1, POSE_6D, continues=False)
        self._made: np.ndarray | None = None
        self._site: np.ndarray | None = None  # of what actions turn, in the frame that observations show

    def submit(self, request: Request) -> None:
        seen = {key: past[-1] for key, past in request.history.items()}
        step = self._expert.act(seen).astype(float)
        if self._site is None:
            shown = quaternion_to_matrix(self._arm.env.observe()["robot0_eef_quat"])
            self._site = shown.T @ self._arm.env.eef_pose()[:3, :3]
        rotation = quaternion_to_matrix(seen["robot0_eef_quat"]) @ self._site
        target = action_target(homogeneous(rotation, seen["robot0_eef_pos"]), step)
        pose = target[:3, 3], matrix_to_rotation_6d(target[:3, :3]), step[6:]
        self._made = np.concatenate(pose)[None].astype(np.float32)

    def poll(self) -> np.ndarray | None:
        made, self._made = self._made, None
        return made


# ---- agents -------------------------------------------------------------------------------------------------------


def train(env_id: str, method: str, file: Path, runs: Path, overrides: list[str]) -> None:
    """An agent as the task's configuration says, but for method, actions and data."""
    where = agent_of(runs, env_id, method)
    if where.is_dir():
        return
    told = read_experiment(f"{env_id.removesuffix('-v0').lower()}-state", overrides)
    with make_env(env_id) as env:
        agent = ChunkAgent(
            **{**told.agent.to_dict(), "method": method, "n_action_steps": N_ACTION_STEPS}, env=env, device="cpu"
        )
    demonstrations = open_dataset(file, list(agent.spaces_by_key))
    agent.learn(demonstrations, told.training.total_steps, None, True, where.parent, **told.training.config())
    agent.save(where)


if __name__ == "__main__":
    main()
