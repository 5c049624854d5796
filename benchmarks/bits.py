"""Experts' episodes in our environments, and the same actions in robosuite's own: how far the states differ.

    python benchmarks/bits.py [--env Lift-v0 ...] [-n 20] [--absolute 5] [--json FILE]

Both start from the same seed, and each of ours is compared with robosuite's after every action. ``--absolute`` of the
episodes more are acted by poses in place of deltas.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from simulation import made, robosuites_own

from l1flow_agents.demonstrations.generation.segments import action_target
from l1flow_agents.envs.experts import make_expert
from l1flow_agents.rotations import matrix_to_axis_angle

IDS = (
    *("Lift-v0", "Can-v0", "Square-v0", "Transport-v0", "ToolHang-v0"),
    *("Stack_D1-v0", "Coffee_D2-v0", "ThreePieceAssembly_D2-v0"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=IDS)
    parser.add_argument("-n", type=int, default=20, help="episodes by delta actions")
    parser.add_argument("--absolute", type=int, default=5, help="episodes by absolute actions")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    record: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("mujoco", "robosuite", "numpy", "scipy", "numba")},
        "rows": [],
    }
    for env_id in args.env:
        for control, n_episodes in [("delta", args.n), ("absolute", args.absolute)]:
            if n_episodes:
                record["rows"].append(compared(env_id, control, n_episodes))
                print(json.dumps(record["rows"][-1]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")


def compared(env_id: str, control: str, n_episodes: int) -> dict[str, Any]:
    ours = made(env_id, control=control)
    theirs = robosuites_own(ours)
    expert = make_expert(env_id, np.random.default_rng(0))
    max_steps = gym.spec(env_id).max_episode_steps or 0
    steps = same_steps = successes = same_successes = 0
    largest = 0.0
    for seed in range(n_episodes):
        observation = begin(ours, theirs, seed)
        expert.reset(np.random.default_rng(seed))
        success = False
        differences = [difference(ours, theirs)]
        while not success and len(differences) <= max_steps:
            action = np.asarray(expert.act(observation), np.float64)
            if control == "absolute":
                action = poses(ours, action)
            theirs.step(action)
            observation, _, success, _, _ = ours.step(action)
            differences.append(difference(ours, theirs))
        theirs.sim.forward()  # robosuite's success is about bodies one substep late
        steps += len(differences) - 1
        same_steps += differences[1:].count(0.0)
        successes += success
        same_successes += success == bool(theirs._check_success())
        largest = max(largest, *differences)
    ours.close()
    theirs.close()
    return {
        "env": env_id,
        "control": control,
        "episodes": n_episodes,
        "steps": steps,
        "same_steps": same_steps,
        "largest_difference": largest,
        "successes": successes,
        "same_successes": same_successes,
    }


def begin(ours: Any, theirs: Any, seed: int) -> Any:
    """The first observation of the episode of this seed, in both."""
    from l1flow_agents.envs.robosuite_env import _give_generator

    observation, _ = ours.reset(seed=seed)
    theirs.hard_reset = ours.task.model_varies
    _give_generator(theirs, seeding.np_random(seed)[0])
    theirs.reset()
    for robot in theirs.robots:  # else the first torques use a mass matrix of before the gripper was placed
        robot.part_controllers["right"].new_update = True
    return observation


def difference(ours: Any, theirs: Any) -> float:
    """Largest difference of any number of [time, qpos, qvel]."""
    return float(np.abs(ours.get_state()["states"] - theirs.sim.get_state().flatten()).max())


def poses(env: Any, action: np.ndarray) -> np.ndarray:
    """Where a delta action sends the hands."""
    result = []
    for arm, one in enumerate(np.split(action, env.task.n_arms)):
        target = action_target(env.eef_pose(arm), one)
        result.append(np.concatenate([target[:3, 3], matrix_to_axis_angle(target[:3, :3]), one[6:]]))
    return np.concatenate(result)


if __name__ == "__main__":
    main()
