"""Generation and agents on MimicGen's tasks, into benchmarks/results/mimicgen.json; `pages.py` makes its tables.

    python benchmarks/mimicgen.py generation data      # sources, and 10 episodes of every variant or what is there
    python benchmarks/mimicgen.py agent runs/square_d2-state data/square_d2.hdf5

An agent is scored on 50 test seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from l1flow_agents import L1FlowAgent, evaluate
from l1flow_agents.data.robomimic_hdf5 import read_robomimic_hdf5
from l1flow_agents.demonstrations.collection import collect
from l1flow_agents.demonstrations.generation import generate
from l1flow_agents.envs import ENVS
from l1flow_agents.files import write_atomically
from l1flow_agents.seeds import GENERATION_SEED

RESULTS = Path(__file__).parent / "results" / "mimicgen.json"
IDS = [env_id for env_id, (entry_point, _) in ENVS.items() if ".mimicgen." in entry_point]
N_SOURCES, N_GENERATED, N_EPISODES = 10, 10, 50
SUMMARY = ("success_rate", "success_interval_95", "n_episodes", "n_action_steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    generation = commands.add_parser("generation")
    generation.add_argument("folder", type=Path, help="for the files")
    generation.add_argument("envs", nargs="*", default=IDS, help="default: all")
    generation.add_argument("--workers", type=int, default=2)
    generation.set_defaults(run=run_generation)
    agent = commands.add_parser("agent")
    agent.add_argument("run_dir", type=Path, help="run directory, with an agent/ in it")
    agent.add_argument("dataset", type=Path, help="what it was trained on")
    agent.add_argument("--n-action-steps", type=int, help="default: the agent's")
    agent.set_defaults(run=run_agent)
    args = parser.parse_args()
    args.run(args)


def run_generation(args: argparse.Namespace) -> None:
    args.folder.mkdir(parents=True, exist_ok=True)
    for env_id in args.envs:
        task = re.sub(r"_D\d-v0", "", env_id)
        source = args.folder / f"{task.lower()}_d0.hdf5"
        collected = collect(f"{task}_D0-v0", N_SOURCES, source, args.workers)
        name = env_id.removesuffix("-v0").lower()
        output = args.folder / f"{name}{'-generated' if name.endswith('_d0') else ''}.hdf5"
        made = generate(env_id, source, N_GENERATED, output, n_workers=args.workers)
        record(
            "generation",
            env_id,
            {
                "expert_on_d0": [collected.n_demos, collected.n_episodes],
                "successes": made.n_demos,
                "attempts": made.n_episodes,
                "mean_steps": mean(episode_lengths(output)),
            },
        )
        print(env_id, made, flush=True)


def run_agent(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    agent = L1FlowAgent.load(args.run_dir / "agent")
    agent = agent.with_settings(n_action_steps=args.n_action_steps or agent.n_action_steps)
    result = evaluate(agent, n_episodes=N_EPISODES, progress_bar=True)
    summary = result.to_dict()
    lengths = episode_lengths(args.dataset)
    training = agent.provenance.training
    score = {name: summary[name] for name in SUMMARY}
    settings = {
        "demonstrations": len(lengths),
        "attempts": attempts(args.dataset),
        **{name: training[name] for name in ("total_steps", "batch_size")},
    }
    more = {"command": shlex.join(["python", *sys.argv]), "mean_steps": mean(lengths)}
    failed = [one.seed for one in result.episodes if not one.success]
    record(
        "agents", str(agent.env_id), {**score, **settings, **more, "failed_seeds": failed, "curve": curve(args.run_dir)}
    )
    print(agent.env_id, result)


def episode_lengths(path: Path) -> np.ndarray:
    return np.diff(read_robomimic_hdf5(path, keys=["object"]).ends, prepend=0)


def attempts(path: Path) -> int:
    """How many it took, by the seed of the last success."""
    with h5py.File(path) as file:
        return max(int(demo.attrs["seed"]) for demo in file["data"].values()) - GENERATION_SEED + 1


def mean(lengths: np.ndarray) -> float:
    return round(float(lengths.mean()), 1)


def curve(run_dir: Path) -> list[list[float]]:
    """[training loss, action error on held-out episodes], as they were logged."""
    with (run_dir / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/action_error"]]
    return [[round(float(row[name]), 5) for name in ("train/loss", "val/action_error")] for row in rows]


def record(kind: str, env_id: str, entry: dict[str, Any]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(kind, {})[env_id] = entry
    text = json.dumps(results, indent=1, sort_keys=True)
    write_atomically(RESULTS, re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n")


if __name__ == "__main__":
    main()
