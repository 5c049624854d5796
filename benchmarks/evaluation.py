"""How much `evaluate` adds to the simulator stepping alone on all cores.

    python benchmarks/evaluation.py [--agent square-state] [--episodes 40] [--json benchmarks/results/evaluation.json]

Both sides take turns, and a ratio is the median of the rounds' ratios of seconds a step. The floor replays an agent's
recorded actions in as many processes as there are cores, each of which takes the next episode when it has finished
one, as the workers of `evaluate` do; neither builds anything within the time that counts: workers are kept from a round
to the next. What a start of them adds is told beside it. The ratio of CPU seconds (of parent and workers to the floor's
processes) is for a machine that has other work, too: it lacks what the cores wait.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from l1flow_agents import EvaluationResult, L1FlowAgent, evaluate
from l1flow_agents.env_maker import EnvMaker
from l1flow_agents.evaluation import Workers
from l1flow_agents.seeds import VALIDATION_SEED

TARGET = 1.2
Episode = tuple[int, np.ndarray]  # seed, actions (n_steps, action_dim)


class Cost(NamedTuple):
    """Of one step."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="square-state")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    n_cores = os.cpu_count() or 1
    agent = L1FlowAgent.load(args.agent)
    recorded = [play(agent, VALIDATION_SEED + k) for k in range(args.episodes)]

    rows = []
    with Workers() as workers:
        started = scored(agent, args.episodes, workers)
        for _ in range(args.rounds):
            floor = replay_on_all_cores(agent, recorded, n_cores)
            before = cpu_seconds()
            kept = scored(agent, args.episodes, workers)
            cpu = cpu_seconds() - before
            n_steps = sum(episode.length for episode in kept.episodes)
            rows.append((kept.seconds / n_steps / floor.wall, cpu / n_steps / floor.cpu, floor.wall, floor.cpu))
    ratio, cpu_ratio, wall, cpu = np.median(rows, axis=0)
    print(
        f"{args.agent}: evaluation / stepping on {n_cores} cores: {ratio:.2f} (target {TARGET}), of CPU {cpu_ratio:.2f}"
    )
    print(f"a step of the simulator: {wall * 1e3:.3f} ms on all cores, {cpu * 1e3:.3f} ms of CPU")
    print(f"{kept.n_envs} environments; {kept.timing}; the first time: {started.timing}")
    if args.json:
        figures = {"ratio": ratio, "cpu_ratio": cpu_ratio, "floor_s_per_step": wall, "floor_cpu_s_per_step": cpu}
        shape = {"n_cores": n_cores, "n_envs": kept.n_envs, "episodes": args.episodes, "rounds": args.rounds}
        times = {"kept": kept.to_dict()["timing"], "first": started.to_dict()["timing"]}
        record = {"command": " ".join(sys.argv), "agent": args.agent, **shape, "target": TARGET, **figures, **times}
        args.json.write_text(json.dumps({**record, "load": os.getloadavg()[1]}, indent=1) + "\n")


def scored(agent: L1FlowAgent, n: int, workers: Workers) -> EvaluationResult:
    return evaluate(agent, n_episodes=n, seed=VALIDATION_SEED, workers=workers)


def cpu_seconds() -> float:
    """Of this process and its living children, so far."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system
    return seconds


def play(agent: L1FlowAgent, seed: int) -> Episode:
    env = agent.make_env()
    observation, _ = env.reset(seed=seed)
    actions, state, done = [], None, False
    while not done:
        action, state = agent.predict(observation, state)
        observation, _, terminated, truncated, _ = env.step(action)
        actions.append(action)
        done = terminated or truncated
    env.close()
    return seed, np.array(actions)


def replay_on_all_cores(agent: L1FlowAgent, episodes: list[Episode], n_cores: int) -> Cost:
    """Of a step, all processes together."""
    assert agent.provenance.env is not None
    context = multiprocessing.get_context("spawn")
    barrier, following = context.Barrier(n_cores), context.Value("i", 0)
    costs: Queue[Cost] = context.Queue()
    work = (agent.provenance.env.maker(), episodes, following, barrier, costs)
    processes = [context.Process(target=replay, args=work) for _ in range(n_cores)]
    for process in processes:
        process.start()
    found = [costs.get() for _ in processes]
    for process in processes:
        process.join()
    n_steps = sum(len(actions) for _, actions in episodes)
    return Cost(max(one.wall for one in found) / n_steps, sum(one.cpu for one in found) / n_steps)


def replay(
    make: EnvMaker, episodes: list[Episode], following: Synchronized, barrier: Barrier, costs: Queue[Cost]
) -> None:
    import l1flow_agents  # noqa: F401  registers the environments

    env = make()
    env.reset(seed=0)
    barrier.wait()
    begin, cpu = time.perf_counter(), time.process_time()
    while (k := taken(following)) < len(episodes):
        seed, actions = episodes[k]
        env.reset(seed=seed)
        for action in actions:
            env.step(action)
    costs.put(Cost(time.perf_counter() - begin, time.process_time() - cpu))


def taken(following: Synchronized) -> int:
    with following.get_lock():
        following.value += 1
        return int(following.value) - 1


if __name__ == "__main__":
    main()
