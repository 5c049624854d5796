"""Wrong values in configurations: how many end in one line, how many pass, how many in a traceback.

    python benchmarks/campaigns/configs.py [--cases N] [--seed N] [--json benchmarks/results/campaign_configs.json]

A case is a good configuration in which a leaf or a branch is replaced by a random value of a wrong type, size or sign.
It is read and its agent built, as `l1flow train` does; only the training itself is left out.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import yaml

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import L1FlowError
from l1flow_agents.experiments import read_experiment, run_experiment

GOOD: dict[str, Any] = {
    "env": "PushT-v0",
    "env_kwargs": {"obs_type": "state", "max_episode_steps": 100},
    "dataset": "pusht",
    "agent": {
        "network": "mlp",
        "method": "l1flow",
        "horizon": 16,
        "n_obs_steps": 2,
        "n_action_steps": 8,
        "network_kwargs": {"width": 32, "depth": 2, "expansion": 2, "dropout": 0.1, "time_dim": 16},
        "encoder_kwargs": {"fourier": 1, "quaternions": {}, "turns": {}, "channels": [8, 8, 16, 16], "crop": 0.875},
        "method_kwargs": {"loss": "l1", "space": "sample", "time": "mixed", "sampler": "euler", "t_mid": 0.5},
    },
    "training": {
        "total_steps": 10,
        "batch_size": 8,
        "learning_rate": 3.0e-4,
        "weight_decay": 1e-6,
        "warmup_steps": 5,
        "grad_clip": 1.0,
        "ema_power": 0.75,
        "history_dropout": 0.1,
        "noise_samples": 1,
        "precision": "float32",
        "symmetry": "pusht",
        "val_fraction": 0.02,
        "log_every": 100,
        "validate_every": 2000,
        "checkpoint_every": 1000,
        "seed": 0,
    },
    "evaluation": {"every": 4, "n_episodes": 1, "seed": 90000, "n_envs": 1},
}
OTHERS = [  # what else an agent may be made of
    {},
    {"network": "unet", "network_kwargs": {"dims": [16, 32], "kernel_size": 3, "n_groups": 8, "time_dim": 16}},
    {"network": "transformer", "network_kwargs": {"width": 32, "depth": 1, "n_heads": 2, "dropout": 0.1}},
    {"method": "ddpm", "method_kwargs": {"sampler": "ddim", "n_steps": 10}},
    {"method": "edm", "method_kwargs": {"n_steps": 18}},
    {"method": "flow_matching", "method_kwargs": {"n_steps": 10}},
    {"method": "consistency", "method_kwargs": {"n_steps": 1, "start_std": 1.0, "dsm_weight": 1.0}},
    {"method": "onedp", "method_kwargs": {"stochastic": True}},
]
VALUES: list[Any] = [
    *[None, True, False, 0, 1, -1, -3, 0.5, -2.0, 7, 10**9, 10**18, -(10**18), 2**63, 10**400],
    *[1e-320, 1e300, float("inf"), float("-inf"), float("nan"), "1e400", "1e-4", "64", "-7", "nan", "12e"],
    *["", "abc", "text", "auto", "a\0b", "\ud800", "x" * 5000, "../..", "/dev/zero", "l1flow:l1flow", "no_module:X-v0"],
    *["unet", "ddpm", "PushT-v0", "CartPole-v1", "Lift", "image", "bfloat16", "square", "rgb_array"],
    *[[], {}, [1], [[]], [None], [-1, 3], ["a"], [0.5, "x"], {"a": 1}, {1: 2}, {"a": {"b": [{}]}}, {None: None}],
    *[{"object": [3]}, {"state": [0]}, {"state": [-4]}, {"state": [[0, 0, 1]]}, {"state": "text"}, {"state": {1: 2}}],
    *[date(2026, 1, 1), b"bytes", {1, 2}],
]


def cases(n: int, seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was replaced by what, and the configuration."""
    draw = random.Random(seed)
    for _ in range(n):
        config = copy.deepcopy(GOOD)
        config["agent"].update(copy.deepcopy(draw.choice(OTHERS)))
        path = draw.choice(list(paths(config)))
        value = copy.deepcopy(draw.choice(VALUES))
        place: Any = config
        for name in path[:-1]:
            place = place[name]
        if draw.random() < 0.1 and isinstance(place, dict):
            place[value if isinstance(value, str | int | None) else "extra"] = value  # a setting that does not exist
            path = (*path[:-1], "(another)")
        else:
            place[path[-1]] = value
        yield f"{'.'.join(map(str, path))} = {shown(value)}", config


def paths(part: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every leaf and branch."""
    for name in part if isinstance(part, dict) else range(len(part)):
        yield (name,)
        if isinstance(part[name], dict | list):
            yield from ((name, *rest) for rest in paths(part[name]))


def attempt(config: dict[str, Any], folder: Path) -> str:
    """``accepted``, ``refused`` or how else it ended."""
    file = folder / "wrong.yaml"
    file.write_text(yaml.safe_dump(config))
    with (
        mock.patch("l1flow_agents.experiments.learning.open_dataset"),
        mock.patch("l1flow_agents.experiments.run.dataset_of"),
        mock.patch.multiple(L1FlowAgent, learn=mock.DEFAULT, save=mock.DEFAULT),
    ):
        try:
            run_experiment(read_experiment(file), folder / "run", "cpu", progress_bar=False)
        except (L1FlowError, gym.error.Error) as error:
            return "refused" if len(str(error).splitlines()) == 1 and len(str(error)) < 1500 else "refused at length"
        except TimeoutError:
            return "too slow"
        except Exception as error:
            return f"traceback: {type(error).__name__}"
    return "accepted"


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}... ({len(text)} characters)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", help="cases whose end begins so, such as traceback")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))  # an absurd width must not take the machine's memory
    signal.signal(signal.SIGALRM, stop)

    ends: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for what, config in cases(args.cases, args.seed):
            began = time.perf_counter()
            signal.alarm(10)
            end = attempt(config, Path(scratch))
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - began)
            ends[end] += 1
            if args.show and end.startswith(args.show):
                print(f"{what}: {end}")
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "cases": args.cases,
        "tracebacks": sum(n for end, n in ends.items() if end.startswith("traceback")),
        "ends": dict(ends.most_common()),
        "slowest_seconds": round(slowest, 2),
    }
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def stop(*_: Any) -> None:
    raise TimeoutError


if __name__ == "__main__":
    main()
