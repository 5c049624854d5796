"""Exported plans: how near they are to the agent's, and how long they take.

    python benchmarks/export.py [--agents pusht-state ...] [--json benchmarks/results/export.json]

Each agent is written as ONNX and as torch.export's file, run from there on inputs of a batch of one and compared with
`plan`; both sides are timed in turn, on one thread, in seconds of the processor, which other work hardly touches.
A ratio is the median of the rounds' ratios to `predict_chunk`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import torch
from speed import compare

from l1flow_agents import L1FlowAgent
from l1flow_agents.comparison.latency import plans_to_warm_up
from l1flow_agents.exporting import inputs
from l1flow_agents.files import write_atomically

AGENTS = ["pusht-state", "square-state", "lift-image"]
UNTRAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "unet (64, 128, 256)": ("unet", {"dims": (64, 128, 256)}),
    "transformer (192 x 6)": ("transformer", {"width": 192, "depth": 6}),
}
Plan = Callable[[], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=[*UNTRAINED, *AGENTS])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in args.agents:
        rows += measured(name, args.rounds)
        if args.json:
            packages = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
            machine = {"machine": platform.machine(), "threads": 1, **packages}
            write_atomically(
                args.json, json.dumps({"command": " ".join(sys.argv), **machine, "rows": rows}, indent=1) + "\n"
            )


def measured(name: str, rounds: int) -> list[dict[str, Any]]:
    agent = made(name)
    history, noise = inputs(agent, 1)
    observation = {key: past[0, -1] for key, past in history.items()}
    asked = observation if len(observation) > 1 or "observation" not in observation else observation["observation"]
    rows = []
    for _ in range(plans_to_warm_up(agent)):
        agent.predict_chunk(asked)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, load in LOADERS.items():
            path = Path(folder) / f"agent{suffix}"
            agent.export(path)
            run, expected = load(path, history, noise), agent.plan(history, noise)
            apart = float(np.abs(run() - expected).max() / max(1.0, np.abs(expected).max()))
            ratio, ours, theirs = compare(run, lambda: agent.predict_chunk(asked), rounds, time.process_time)
            row = {"agent": name, "file": suffix, "bytes": path.stat().st_size, "apart": apart}
            rows.append({**row, "ratio": ratio, "file_s": ours, "predict_chunk_s": theirs})
            print(f"{name:24} {suffix:6} {ratio:6.3f} x {1e3 * theirs:8.3f} ms   apart {apart:.1e}", flush=True)
    return rows


def made(name: str) -> L1FlowAgent:
    if name not in UNTRAINED:
        return L1FlowAgent.load(name, device="cpu")
    network, settings = UNTRAINED[name]
    return L1FlowAgent(network, gym.make("PushT-v0", obs_type="state"), network_kwargs=settings)


def onnx_plan(path: Path, history: dict[str, np.ndarray], noise: np.ndarray) -> Plan:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {**history, "noise": noise})[0]


def torch_plan(path: Path, history: dict[str, np.ndarray], noise: np.ndarray) -> Plan:
    module = torch.export.load(path).module()
    tensors = {key: torch.from_numpy(array) for key, array in history.items()}

    @torch.inference_mode()
    def plan() -> np.ndarray:
        found: np.ndarray = module(tensors, torch.from_numpy(noise)).numpy()
        return found

    return plan


LOADERS = {".onnx": onnx_plan, ".pt2": torch_plan}


if __name__ == "__main__":
    main()
