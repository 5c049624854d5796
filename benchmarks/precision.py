"""A training step in bfloat16 against the same step in float32: what `training.precision: auto` goes by.

    python benchmarks/precision.py [--networks NAME ...] [--rounds N] [--json benchmarks/results/precision.json]

Both steps are timed in turn; a ratio is the median of the rounds' ratios. Below 1, bfloat16 is faster.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from l1flow_agents import L1FlowAgent

STATE = spaces.Dict({"state": spaces.Box(-1, 1, (23,), np.float32)})
PICTURE = spaces.Dict({"image": spaces.Box(0, 255, (84, 84, 3), np.uint8)})
ACTION = spaces.Box(-1, 1, (7,), np.float32)
NETWORKS: dict[
    str, tuple[str, spaces.Dict, dict[str, Any], int]
] = {  # name -> network, space, its settings, batch size
    "mlp (square-state)": ("mlp", STATE, {"network_kwargs": {"width": 384, "depth": 3}}, 256),
    "unet (64, 128, 256)": ("unet", STATE, {"network_kwargs": {"dims": (64, 128, 256)}}, 128),
    "unet (256, 512, 1024), published": (
        "unet",
        STATE,
        {"network_kwargs": {"dims": (256, 512, 1024), "time_dim": 256}},
        64,
    ),
    "transformer (192 x 6)": ("transformer", STATE, {}, 128),
    "image encoder (lift-image) and mlp": (
        "mlp",
        PICTURE,
        {"encoder_kwargs": {"channels": (16, 32, 64, 64)}, "n_obs_steps": 1},
        32,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rows = []
    for name in args.networks:
        network, space, settings, batch_size = NETWORKS[name]
        agent = L1FlowAgent(network, (space, ACTION), device=args.device, **settings)
        step = training_step(agent, batch_size)
        ratio, coarse, exact = compare(partial(step, torch.bfloat16), partial(step, torch.float32), args.rounds)
        rows.append({"step": name, "batch": batch_size, "ratio": ratio, "bfloat16_s": coarse, "float32_s": exact})
        print(f"{name:36} {ratio:6.2f}   bfloat16 {coarse * 1e3:9.2f} ms   float32 {exact * 1e3:9.2f} ms", flush=True)
    if args.json:
        record = {
            "command": shlex.join(["python", *sys.argv]),
            "device": torch.cuda.get_device_name()
            if args.device == "cuda"
            else torch.cpu.get_capabilities()["cpu_name"],
            "has": {name: bool(torch.cpu.get_capabilities().get(name)) for name in ("avx2", "avx512_bf16", "amx_bf16")},
            "threads": args.threads,
            "torch": torch.__version__,
            "rows": rows,
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


def training_step(agent: L1FlowAgent, batch_size: int) -> Callable[[torch.dtype], None]:
    """Loss, gradient and AdamW on ready tensors; the precision is that of the loss's products."""
    model = agent.policy.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    observations = {
        key: torch.from_numpy(np.stack([[box.sample()] * agent.n_obs_steps for _ in range(batch_size)]))
        for key, box in agent.spaces_by_key.items()
    }
    observations = {key: tensor.to(agent.device) for key, tensor in observations.items()}
    actions = torch.rand(batch_size, agent.horizon, *ACTION.shape, device=agent.device)
    valid = torch.ones(batch_size, agent.horizon, dtype=torch.bool, device=agent.device)

    def step(precision: torch.dtype) -> None:
        with torch.autocast(agent.device.type, precision, enabled=precision is not torch.float32):
            loss = model.loss(observations, actions, valid)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return step


def compare(ours: Callable[[], object], floor: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median ratio, and the median seconds of each side."""
    pairs = []
    for _ in range(rounds + 2):
        times = []
        for one in (ours, floor):
            begin = time.perf_counter()
            one()
            times.append(time.perf_counter() - begin)
        pairs.append(times)
    ours_times, floor_times = np.array(pairs[2:]).T  # the first rounds warm up
    return float(np.median(ours_times / floor_times)), float(np.median(ours_times)), float(np.median(floor_times))


if __name__ == "__main__":
    main()
