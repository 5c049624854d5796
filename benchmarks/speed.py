"""Speed as ratios: what the library does against the floor that it stands on, in one process.

    python benchmarks/speed.py [--threads N] [--networks mlp ...] [--json benchmarks/results/speed.json]

Both sides of a ratio are timed in turn, many times; a ratio is the median of the rounds' ratios, so that what else the
machine does touches both alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from l1flow_agents import Episodes, L1FlowAgent
from l1flow_agents.comparison.latency import plans_to_warm_up
from l1flow_agents.data import ChunkSampler
from l1flow_agents.training.batches import to_tensors

Row = tuple[str, str, float, float, float, float]  # what, of, target, ratio, seconds of ours and of the floor
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # name -> network, its settings, the encoder's
    "mlp (pusht-state)": ("mlp", {"width": 320, "depth": 3, "dropout": 0.1}, {"fourier": 1}),
    "unet (64, 128, 256)": ("unet", {"dims": (64, 128, 256)}, {}),
    "unet (256, 512, 1024), published": ("unet", {"dims": (256, 512, 1024), "time_dim": 256}, {}),
    "transformer (192 x 6)": ("transformer", {"width": 192, "depth": 6}, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=[""], help="how their names begin; default: all")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    print(f"{'what':36} {'of':34} {'ratio':>7} {'target':>7}   {'ours':>10} {'floor':>10}")
    rows: list[Row] = []

    def add(what: str, of: str, target: float, ratio: float, ours: float, floor: float) -> None:
        print(f"{what:36} {of:34} {ratio:7.3f} {target:7.2f}   {ours * 1e3:7.3f} ms {floor * 1e3:7.3f} ms", flush=True)
        rows.append((what, of, target, ratio, ours, floor))

    env = gym.make("PushT-v0", obs_type="state")
    for name, (network, network_kwargs, encoder_kwargs) in chosen(args.networks).items():
        agent = L1FlowAgent(network, env, network_kwargs=network_kwargs, encoder_kwargs=encoder_kwargs)
        add("replan / 2 forward passes", name, 1.10, *replan(agent, args.rounds))
        if "published" not in name:  # a step of that size takes many seconds here
            add("training step / bare step", name, 1.10, *training_step(agent, max(args.rounds // 4, 1)))
        if name.startswith("mlp"):
            add("sampling 256 chunks / training step", name, 0.10, *sampling(agent, args.rounds))
    add("env.step / simulator's step", "PushT-v0, state", 1.05, *env_step(args.rounds))

    if args.json:
        machine = {"machine": platform.machine(), "threads": args.threads}
        keys = ("what", "of", "target", "ratio", "ours_s", "floor_s")
        record = {
            "command": " ".join(sys.argv),
            **machine,
            "torch": torch.__version__,
            "rows": [dict(zip(keys, row, strict=True)) for row in rows],
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def chosen(beginnings: list[str]) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    return {name: one for name, one in NETWORKS.items() if name.startswith(tuple(beginnings))}


def compare(
    ours: Callable[[], object],
    floor: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """Median ratio, and the median seconds of each side."""
    pairs = []
    for k in range(rounds + 3):
        first, second = (ours, floor) if k % 2 else (floor, ours)
        begin = clock()
        first()
        middle = clock()
        second()
        times = (middle - begin, clock() - middle)
        pairs.append(times if k % 2 else times[::-1])
    ours_times, floor_times = np.array(pairs[3:]).T  # the first rounds warm up
    return float(np.median(ours_times / floor_times)), float(np.median(ours_times)), float(np.median(floor_times))


def replan(agent: L1FlowAgent, rounds: int) -> tuple[float, float, float]:
    """`predict` with nothing planned yet, against two bare passes of the same network on ready tensors."""
    observation = {"state": np.array([200, 300, 256, 256, 1], np.float32)}
    policy = agent.policy
    history = {"state": torch.from_numpy(np.stack([observation["state"]] * agent.n_obs_steps)[None])}
    x, t = torch.randn(1, agent.horizon, 2), torch.full((1,), 0.5)

    @torch.inference_mode()
    def two_passes() -> None:
        cond = policy.encode(history)
        policy.network(x, t, cond)
        policy.network(x, t, cond)

    for _ in range(plans_to_warm_up(agent)):
        agent.predict(observation)
    return compare(lambda: agent.predict(observation), two_passes, rounds * 5)


def training_step(agent: L1FlowAgent, rounds: int) -> tuple[float, float, float]:
    """A step of `learn`, everything included, against forward, backward and AdamW on ready tensors."""
    demonstrations = toy_demonstrations()
    batch = ChunkSampler(demonstrations, agent.horizon, agent.n_obs_steps, agent.n_action_steps)[np.arange(256)]
    observations, _, _ = to_tensors(batch, agent.device)
    model = L1FlowAgent(
        agent.settings.network,
        (agent.observation_space, agent.action_space),
        network_kwargs=agent.settings.network_kwargs,
        encoder_kwargs=agent.settings.encoder_kwargs,
    ).policy
    model.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    x_t, t = torch.randn(256, agent.horizon, 2), torch.rand(256)

    def bare_step() -> None:
        error = model.network(x_t, t, model.encode(observations)) - x_t
        optimizer.zero_grad()
        loss = nn.functional.l1_loss(error, torch.zeros_like(error))
        loss.backward()  # type: ignore[no-untyped-call]  # torch says no types here
        optimizer.step()

    return while_learning(agent, demonstrations, bare_step, rounds)


def sampling(agent: L1FlowAgent, rounds: int) -> tuple[float, float, float]:
    """Reading a batch against the training step that it feeds."""
    demonstrations = toy_demonstrations()
    windows = ChunkSampler(demonstrations, agent.horizon, agent.n_obs_steps, agent.n_action_steps)
    k = iter(range(10**6))
    ratio, step, sample = while_learning(
        agent, demonstrations, lambda: windows[windows.batch_indices(next(k), 256, 0)], rounds
    )
    return 1 / ratio, sample, step


def while_learning(
    agent: L1FlowAgent, demonstrations: Episodes, floor: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Time every step of `learn` (data, loss, optimiser, average, logging), and ``floor`` after each of them."""
    pairs, resumed = [], [time.perf_counter()]

    def after_step(*_: dict) -> bool:
        ended = time.perf_counter()
        floor()
        pairs.append((ended - resumed[0], time.perf_counter() - ended))
        resumed[0] = time.perf_counter()
        return True

    agent.learn(demonstrations, rounds + 3, after_step, val_fraction=0.0)
    ours, floors = np.array(pairs[3:]).T
    return float(np.median(ours / floors)), float(np.median(ours)), float(np.median(floors))


def env_step(rounds: int) -> tuple[float, float, float]:
    """Our environment's step against gym-pusht's, on the same actions; 20 steps at a time."""
    from gym_pusht.envs.pusht import PushTEnv

    ours, theirs = gym.make("PushT-v0", obs_type="state").unwrapped, PushTEnv(obs_type="state")
    ours.reset(seed=0)
    theirs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(100, 400, (20, 2)).astype(np.float32)

    def steps(env: gym.Env) -> Callable[[], object]:
        return lambda: [env.step(action) for action in actions]

    return compare(steps(ours), steps(theirs), rounds)


def toy_demonstrations() -> Episodes:
    rng = np.random.default_rng(0)
    state = rng.uniform(0, 500, (20_000, 5)).astype(np.float32)
    return Episodes({"state": state}, state[:, :2].copy(), np.arange(200, 20_001, 200))


if __name__ == "__main__":
    main()
