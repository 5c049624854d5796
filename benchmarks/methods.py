"""How much faster L1 Flow plans than the methods it is compared with: the same network, in one process, in turn.

    python benchmarks/methods.py [--threads N] [--networks mlp ...] [--json benchmarks/results/methods_speed.json]

A replan is `predict` with nothing planned yet. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from speed import chosen

from l1flow_agents import L1FlowAgent
from l1flow_agents.comparison.latency import plans_to_warm_up
from l1flow_agents.files import write_atomically

# name -> method, its settings, and the target for its time over L1 Flow's
METHODS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ddpm, 100 steps": ("ddpm", {}, ">= 45"),
    "ddim, 10 steps": ("ddpm", {"sampler": "ddim"}, ""),
    "flow_matching, 10 steps": ("flow_matching", {}, ">= 4.5"),
    "mip": ("mip", {}, ""),
    "shortcut, 1 step": ("shortcut", {}, ""),
    "edm, 18 steps": ("edm", {}, ""),
    "consistency, 1 step": ("consistency", {}, ""),
    "onedp": ("onedp", {}, ""),
    "l1_regression": ("l1_regression", {}, ">= 1 / 2.2 = 0.45"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=[""], help="how their names begin; default: all")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name, (network, network_kwargs, encoder_kwargs) in chosen(args.networks).items():
        published = "published" in name  # a DDPM plan takes half a minute
        rounds, repeats = (3, 1) if published else (args.rounds, 5)
        rows += measured(name, network, network_kwargs, encoder_kwargs, rounds, repeats)
        for row in rows[-len(METHODS) :]:
            target = METHODS[row["method"]][2]
            print(
                f"{name:34} {row['method']:24} {row['ratio']:7.2f} x l1flow's {1e3 * row['l1flow_s']:.2f} ms  {target}"
            )
    if args.json:
        versions = {"machine": platform.machine(), "threads": args.threads, "torch": torch.__version__}
        write_atomically(
            args.json, json.dumps({"command": " ".join(sys.argv), **versions, "rows": rows}, indent=1) + "\n"
        )


def measured(
    name: str, network: str, network_kwargs: dict, encoder_kwargs: dict, rounds: int, repeats: int
) -> list[dict]:
    env = gym.make("PushT-v0", obs_type="state")
    observation = {"state": np.array([200, 300, 256, 256, 1], np.float32)}
    kwargs: dict[str, Any] = {"network_kwargs": network_kwargs, "encoder_kwargs": encoder_kwargs}
    ours = L1FlowAgent(network, env, **kwargs)
    others = {
        label: L1FlowAgent(network, env, method, method_kwargs=settings, **kwargs)
        for label, (method, settings, _) in METHODS.items()
    }
    times: dict[str, list[tuple[float, float]]] = {label: [] for label in METHODS}
    for agent in (ours, *others.values()):
        for _ in range(plans_to_warm_up(agent)):
            agent.predict(observation)
    for _ in range(rounds):
        for label, agent in others.items():
            times[label].append((spent(agent, observation, repeats), spent(ours, observation, repeats)))
    return [
        {
            "network": name,
            "method": label,
            "ratio": float(np.median([theirs / mine for theirs, mine in pairs])),
            "seconds": float(np.median([theirs for theirs, _ in pairs])),
            "l1flow_s": float(np.median([mine for _, mine in pairs])),
        }
        for label, pairs in times.items()
    ]


def spent(agent: L1FlowAgent, observation: dict, repeats: int) -> float:
    """Seconds of CPU a replan, the median of ``repeats``."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        agent.predict(observation)
        times.append(time.process_time() - begin)
    return float(np.median(times))


if __name__ == "__main__":
    main()
