"""How much `evaluate` adds to the simulator stepping alone on all cores (PushT from state).

    python benchmarks/evaluation.py [--episodes 60] [--json benchmarks/results/evaluation_speed.json]

The floor replays an agent's recorded actions in as many processes as there are cores, policy and workers left out. The
ratio is of seconds a step, with the start of the workers counted, and without it (from the difference of two sizes).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.seeds import VALIDATION_SEED

Episode = tuple[int, np.ndarray]  # seed, actions (n_steps, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    n_cores = os.cpu_count() or 1
    agent = L1FlowAgent.load("pusht-state")
    recorded = [play(agent, VALIDATION_SEED + k) for k in range(args.episodes)]

    rows = []
    for _ in range(args.rounds):
        floor = replay_on_all_cores(recorded, n_cores)
        whole, half = (seconds_and_steps(agent, n, n_cores) for n in (args.episodes, args.episodes // 2))
        running = (whole[0] - half[0]) / (whole[1] - half[1])
        rows.append((whole[0] / whole[1] / floor, running / floor, floor))
    with_start, running, floor = np.median(rows, axis=0)
    print(f"evaluation / simulator on {n_cores} cores, workers' start counted: {with_start:.2f}")
    print(f"the same without the start: {running:.2f} (target 1.25); floor {floor * 1e3:.3f} ms a step")
    if args.json:
        figures = {"with_start": with_start, "running": running, "target": 1.25, "floor_s_per_step": floor}
        record = {"command": " ".join(sys.argv), "n_cores": n_cores, "episodes": args.episodes, **figures}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def seconds_and_steps(agent: L1FlowAgent, n: int, n_cores: int) -> tuple[float, int]:
    result = evaluate(agent, n_episodes=n, seed=VALIDATION_SEED, n_envs=n_cores)
    return result.seconds, sum(episode.length for episode in result.episodes)


def play(agent: L1FlowAgent, seed: int) -> Episode:
    env = gym.make("PushT-v0", obs_type="state")
    observation, _ = env.reset(seed=seed)
    actions, state, done = [], None, False
    while not done:
        action, state = agent.predict(observation, state)
        observation, _, terminated, truncated, _ = env.step(action)
        actions.append(action)
        done = terminated or truncated
    return seed, np.array(actions)


def replay_on_all_cores(episodes: list[Episode], n_cores: int) -> float:
    """Seconds a step, all processes together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_cores)
    times: Queue[float] = context.Queue()
    shares = [episodes[k::n_cores] for k in range(n_cores)]
    processes = [context.Process(target=replay, args=(share, barrier, times)) for share in shares]
    for process in processes:
        process.start()
    slowest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    return slowest / sum(len(actions) for _, actions in episodes)


def replay(episodes: list[Episode], barrier: Barrier, times: Queue[float]) -> None:
    import l1flow_agents  # noqa: F401  registers the environments

    env = gym.make("PushT-v0", obs_type="state")
    barrier.wait()
    begin = time.perf_counter()
    for seed, actions in episodes:
        env.reset(seed=seed)
        for action in actions:
            env.step(action)
    times.put(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
