"""Training and planning on one GPU, beside what the card could do: at most 6 minutes, nothing but PushT's simulator.

    python benchmarks/gpu.py --dataset pusht_cchi_v7_replay.zarr [--json benchmarks/results/gpu.json]
    python benchmarks/gpu.py --dataset tests/data/pusht_sample.zarr --smoke    # seconds, also on a CPU

For every network: a step of `learn`, the same loss, backward pass and AdamW as one CUDA graph on ready tensors (the
floor), the same kernel by kernel, what share of the card's arithmetic the floor reaches, and how long a plan takes with
L1 Flow, Flow Matching of 10 steps and DDPM of 100. Then whether a training that is continued ends with the same bits.
Then five trainings of five methods at once, which share the card by MPS, and their scores.

A bare machine needs, beside torch, NumPy, h5py, safetensors, PyYAML, Pillow, SciPy, pandas, matplotlib and OpenCV,
these wheels (about 25 MB; `pip download --no-deps` them for its Python, `pip install --no-index --no-deps --target`):
gymnasium Farama-Notifications cloudpickle gym-pusht pymunk pygame shapely cffi pycparser stable-baselines3 zarr donfig
numcodecs google-crc32c crc32c msgspec tqdm imageio pydantic pydantic-core annotated-types typing-inspection
typing-extensions packaging. No robosuite, no MuJoCo, no FFmpeg. Then, in the checkout:
`PYTHONPATH=site:. SDL_VIDEODRIVER=dummy OMP_NUM_THREADS=1 python benchmarks/gpu.py ...`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from torch.utils.flop_counter import FlopCounterMode

from l1flow_agents import Episodes, L1FlowAgent, open_dataset
from l1flow_agents.data import ChunkSampler
from l1flow_agents.data.download import locate
from l1flow_agents.evaluation import evaluate
from l1flow_agents.gpu_sharing import shared_gpu
from l1flow_agents.parallel import in_order
from l1flow_agents.policy import ChunkPolicy
from l1flow_agents.training import RunFolder, Training, TrainingConfig, fitting
from l1flow_agents.training.batches import to_tensors
from l1flow_agents.training.precision import PRECISIONS, decide

Network = tuple[str, dict[str, Any]]
SMALL: Network = ("unet", {"dims": (64, 128, 256)})
PUBLISHED: Network = ("unet", {"dims": (256, 512, 1024)})
ROWS: dict[str, tuple[Network, str, float]] = {  # name -> network, precision, largest milliseconds of a plan
    "MLP 320 x 3, float32": (("mlp", {"width": 320, "depth": 3, "dropout": 0.1}), "float32", 1),
    "U-Net (64, 128, 256), bfloat16": (SMALL, "bfloat16", 1),
    "U-Net (256, 512, 1024), float32": (PUBLISHED, "float32", 2),
    "U-Net (256, 512, 1024), bfloat16": (PUBLISHED, "bfloat16", 2),
}
PLANNED = {"l1flow": {}, "flow_matching": {"n_steps": 10}, "ddpm": {}}
AT_ONCE: dict[str, dict[str, Any]] = {  # method -> settings of its sampler, for the score
    "l1flow": {},
    "flow_matching": {},
    "ddpm": {"sampler": "ddim", "n_steps": 10},
    "edm": {"n_steps": 6},
    "l1_regression": {},
}
SEED = 9_950_000  # of the first scored episode; none of them is a test seed of the published protocols
PEAKS = {"H100": (989e12, 67e12), "H200": (989e12, 67e12), "A100": (312e12, 19.5e12)}  # FLOP/s: bfloat16, float32


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    steps: int = 300
    rounds: int = 20
    batch_size: int = 256
    trained: int = 8000
    episodes: int = 40
    limit: int | None = None
    workers: int = len(AT_ONCE)
    n_envs: int = 2


SMOKE = Size(steps=4, rounds=1, batch_size=8, trained=4, episodes=1, limit=10, workers=1, n_envs=1)
TINY: Network = ("mlp", {"width": 16, "depth": 1})


@dataclass(frozen=True)
class Bench:
    dataset: str
    device: str
    size: Size
    smoke: bool

    def agent(self, network: Network, method: str = "l1flow", **method_kwargs: Any) -> L1FlowAgent:
        env = gym.make("PushT-v0", obs_type="state", max_episode_steps=self.size.limit)
        name, settings = TINY if self.smoke else network
        return L1FlowAgent(
            name,
            env,
            method,
            network_kwargs=settings,
            encoder_kwargs={"fourier": 1},
            method_kwargs=method_kwargs,
            device=self.device,
        )

    def demonstrations(self, agent: L1FlowAgent) -> Episodes:
        read: Episodes = open_dataset(self.dataset, list(agent.spaces_by_key))
        return read

    def learn(self, agent: L1FlowAgent, steps: int, **settings: Any) -> float:
        """Seconds a step, those of the first fifth apart: kernels are chosen and the graph is captured there."""
        begun: list[float] = []

        def after_step(told: dict, _: dict) -> bool:
            if told["step"] == max(steps // 5, 1) - 1:
                self.wait()
                begun.append(time.perf_counter())
            return True

        config = {"batch_size": self.size.batch_size, "learning_rate": 3e-4, "symmetry": "pusht", **settings}
        agent.learn(self.demonstrations(agent), steps, after_step, validate_every=10**9, log_every=500, **config)
        self.wait()
        return (time.perf_counter() - begun[0]) / (steps - max(steps // 5, 1))

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="pusht", help="PushT's demonstrations (default: those downloaded)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=Size.trained, help="of the five trainings (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny networks")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    size = SMOKE if args.smoke else replace(Size(), trained=args.steps)
    bench = Bench(str(locate(args.dataset)), args.device, size, args.smoke)
    begun = time.perf_counter()
    record: dict[str, Any] = {"command": " ".join(sys.argv), "torch": torch.__version__, "card": card(args.device)}

    def keep(name: str, value: Any) -> None:
        record[name] = value
        print(f"{time.perf_counter() - begun:6.1f} s  {name}: {json.dumps(value)}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")

    keep("networks", [network_row(bench, name) for name in list(ROWS)[: 1 if args.smoke else None]])
    keep("continued_exactly", continued_exactly(bench))
    with shared_gpu(size.workers if args.device != "cpu" else 1):
        methods = ["l1flow", "edm"] if args.smoke else list(AT_ONCE)
        keep("five_at_once", list(in_order(partial(train_and_score, bench), methods, size.workers)))


def card(device: str) -> str:
    return torch.cuda.get_device_name(device) if device != "cpu" else "none: a smoke run, no figure of it counts"


def network_row(bench: Bench, name: str) -> dict[str, Any]:
    network, precision, target = ROWS[name]
    learned = bench.learn(bench.agent(network), bench.size.steps, precision=precision)
    floor = bare_steps(bench, network, precision)
    plans = plan_seconds(bench, network)
    peak = next((peaks[precision == "float32"] for known, peaks in PEAKS.items() if known in card(bench.device)), None)
    achieved = floor["flop"] / (floor["graph"] or floor["eager"])
    return {
        "name": name,
        "learn_ms": 1e3 * learned,
        "graph_ms": 1e3 * floor["graph"] if floor["graph"] else None,
        "eager_ms": 1e3 * floor["eager"],
        "learn_by_graph": learned / floor["graph"] if floor["graph"] else None,
        "learn_by_graph_target": 1.2,
        "tflop_per_s": achieved / 1e12,
        "share_of_peak": achieved / peak if peak else None,
        "plan_ms": {method: 1e3 * seconds for method, seconds in plans.items()},
        "plan_ms_target": target,
        "times_faster": {method: plans[method] / plans["l1flow"] for method in ("flow_matching", "ddpm")},
        "times_faster_targets": {"flow_matching": 4.5, "ddpm": 45},
    }


def bare_steps(bench: Bench, network: Network, precision: str) -> dict[str, float]:
    """Seconds of loss, backward pass and AdamW on ready tensors, as one graph (0 without a GPU) and eagerly."""
    agent, n = bench.agent(network), bench.size.batch_size
    on_gpu = agent.device.type == "cuda"
    model = copy.deepcopy(agent.policy).train().requires_grad_(True)
    windows = ChunkSampler(bench.demonstrations(agent), agent.horizon, agent.n_obs_steps, agent.n_action_steps)
    batch = to_tensors(windows[np.arange(n)], agent.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=on_gpu)
    dtype = PRECISIONS[decide(precision, agent.device)[0]]  # type: ignore[arg-type]  # one of the known

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model, batch, dtype).backward()  # type: ignore[no-untyped-call]  # torch says no types here
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    eager = seconds_each(bench, step)
    graph = seconds_each(bench, as_graph(step).replay) if on_gpu else 0.0
    return {"flop": counter.get_total_flops(), "eager": eager, "graph": graph}


def loss_of(model: ChunkPolicy, batch: tuple, dtype: torch.dtype) -> torch.Tensor:
    with torch.autocast(model.device.type, dtype, enabled=dtype is not torch.float32):
        return model.loss(*batch)


def as_graph(step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """By the book (PyTorch's manual), without the library's code."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph


def seconds_each(bench: Bench, step: Callable[[], None]) -> float:
    """Of many in a row, so that the host may run ahead."""
    n = 5 * bench.size.rounds
    for counted in (False, True):
        bench.wait()
        begun = time.perf_counter()
        for _ in range(n if counted else 3):
            step()
        bench.wait()
    return (time.perf_counter() - begun) / n


def plan_seconds(bench: Bench, network: Network) -> dict[str, float]:
    """Median seconds of `predict_chunk`, the methods in turn."""
    agents = {method: bench.agent(network, method, **settings) for method, settings in PLANNED.items()}
    observation = {key: box.sample() for key, box in agents["l1flow"].spaces_by_key.items()}
    seconds: dict[str, list[float]] = {method: [] for method in agents}
    for k in range(bench.size.rounds + 2):
        for method, agent in agents.items():
            begun = time.perf_counter()
            agent.predict_chunk(observation)
            if k > 1:
                seconds[method].append(time.perf_counter() - begun)
    return {method: statistics.median(times) for method, times in seconds.items()}


def continued_exactly(bench: Bench) -> bool:
    """Whether a training that was stopped half-way and continued ends with the bits of one that was not."""
    steps, ended = 24, []
    config = TrainingConfig(batch_size=bench.size.batch_size, symmetry="pusht", checkpoint_every=steps // 2)
    for stops in ((steps,), (steps // 2 + 1, steps)):
        with tempfile.TemporaryDirectory() as path:
            for stop in stops:
                agent = bench.agent(SMALL)
                demonstrations = fitting(bench.demonstrations(agent), agent.spaces_by_key, agent.action_space, config)
                folder = RunFolder(Path(path), {**agent.config(), "training": {}})
                training = Training(agent.policy, demonstrations, steps, config)
                folder.resume(training)
                training.run(Logger(None, []), partial(goes_on, stop), folder.save)
        ended.append([weight.clone() for weight in agent.policy.state_dict().values()])
    return all(torch.equal(one, other) for one, other in zip(*ended, strict=True))


def goes_on(stop: int, told: dict[str, Any]) -> bool:
    return bool(told["step"] + 1 < stop)


def train_and_score(bench: Bench, method: str) -> dict[str, Any]:
    """In a process of its own, beside the others."""
    torch.set_num_threads(1)
    agent = bench.agent(SMALL, method)
    seconds = bench.learn(agent, bench.size.trained)
    scored = agent.with_settings(method_kwargs=AT_ONCE[method])
    result = evaluate(scored, n_episodes=bench.size.episodes, seed=SEED, n_envs=bench.size.n_envs)
    return {
        "method": method,
        "sampler": AT_ONCE[method],
        "steps": bench.size.trained,
        "step_ms": 1e3 * seconds,
        "step_ms_target": 10,
        "mean_score": result.mean_score,
        "success_rate": result.success_rate,
        "n_episodes": bench.size.episodes,
    }


if __name__ == "__main__":
    main()
