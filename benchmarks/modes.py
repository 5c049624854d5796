"""Do methods keep the modes? On a fork whose ways are known, and on PushT where one may go around either side.

    python benchmarks/modes.py fork              # trains all methods, half an hour
    python benchmarks/modes.py pusht runs/compare/PushT-v0     # agents that `l1flow compare` trained

Both write benchmarks/results/multimodality.json and .png files beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure

from l1flow_agents import L1FlowAgent
from l1flow_agents.comparison.fork import HORIZON, NEAR, Fork, Modes
from l1flow_agents.comparison.report import markdown_table
from l1flow_agents.comparison.systems import System, read_systems
from l1flow_agents.files import write_atomically
from l1flow_agents.methods.l1flow import L1Flow

RESULTS = Path(__file__).parent / "results"
JSON = RESULTS / "multimodality.json"
NETWORK = {"width": 256, "depth": 3}
STEPS, N_DEMOS, BATCH = 4000, 8192, 256
ANGLES = np.linspace(-np.pi, np.pi, 16, endpoint=False) + 0.1
N_PLANS = 256
WITH: dict[str, dict[str, dict[str, Any]]] = {  # settings under which trained weights are judged too
    "l1flow": {"l1flow:euler-1": {"sampler": "euler", "n_steps": 1}},
    "consistency": {"consistency:std-80": {"start_std": 80.0}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fork = commands.add_parser("fork")
    fork.add_argument("--steps", type=int, default=STEPS)
    fork.set_defaults(run=run_fork)
    pusht = commands.add_parser("pusht")
    pusht.add_argument("folder", type=Path, help="of a comparison on PushT")
    pusht.add_argument("--seed", type=int, default=0)
    pusht.set_defaults(run=run_pusht)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


def record(part: str, found: dict[str, Any]) -> None:
    known = json.loads(JSON.read_text()) if JSON.exists() else {}
    write_atomically(JSON, json.dumps({**known, part: found}, indent=1) + "\n")


# ---- the fork -------------------------------------------------------------------------------------------------------


def run_fork(args: argparse.Namespace) -> None:
    rows, shown = [], {}
    for n_ways in (2, 3, 4):
        task = Fork(n_ways)
        agents = trained(task, args.steps)
        for name, agent in agents.items():
            judged = [task.judge(agent.sample(told(angle), N_PLANS), angle) for angle in ANGLES]
            row = {"ways": n_ways, "method": name, "evaluations": agent.policy.method.network_evaluations}
            rows.append(row | asdict(Modes.mean(judged)))
            print(rows[-1], flush=True)
        if n_ways == 2:
            shown = agents
    record("fork", {"command": " ".join(["python", *sys.argv]), "rows": rows})
    draw_fork(shown)
    head = [
        "ways",
        "method",
        "evaluations",
        f"near a way (< {NEAR:g} sd)",
        "ways covered",
        "median distance",
        "at the mean",
    ]
    print(
        markdown_table(
            head,
            [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows],
        )
    )


def told(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def trained(task: Fork, steps: int) -> dict[str, L1FlowAgent]:
    """Row -> agent, students after their teachers."""
    data = task.demonstrations(N_DEMOS)
    agents: dict[str, L1FlowAgent] = {}
    rows: dict[str, L1FlowAgent] = {}
    systems = sorted(read_systems().values(), key=lambda one: one.teacher is not None)
    for system in systems:
        agents[system.name] = agent = begun(task, system, agents)
        settings: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 1e-3, "val_fraction": 0.0, **system.training}
        agent.learn(data, max(int(steps * system.budget), 1), **settings)
        for name, method_kwargs in {**system.rows(), **WITH.get(system.name, {})}.items():
            rows[name] = agent.with_settings(method_kwargs=method_kwargs)
    return rows


def begun(task: Fork, system: System, agents: dict[str, L1FlowAgent]) -> L1FlowAgent:
    if system.teacher is not None:
        return L1FlowAgent.from_teacher(agents[system.teacher], system.method, system.method_kwargs)
    return L1FlowAgent(
        "mlp", task.spaces(), system.method, horizon=HORIZON, n_obs_steps=1, n_action_steps=1, network_kwargs=NETWORK
    )


def draw_fork(agents: dict[str, L1FlowAgent]) -> None:
    """L1 Flow's plans on their way, and the plans of the others."""
    angle, task = np.pi / 2, Fork(2)
    panels = {
        **stages(agents["l1flow"], told(angle)),
        **{
            name: agents[name].sample(told(angle), N_PLANS)
            for name in ("l1_regression", "flow_matching", "ddpm", "consistency", "onedp")
        },
    }
    figure = Figure(figsize=(3.1 * 4, 6.2), layout="constrained")
    for axes, (name, plans) in zip(figure.subplots(2, 4).flat, panels.items(), strict=False):
        for way in task.ways(angle):
            axes.plot(*way.T, color="0.6", lw=6, solid_capstyle="round", zorder=0)
        for plan in plans[:64]:
            axes.plot(*plan.T, color="C0", lw=0.5, alpha=0.6)
        axes.scatter(*plans[:, -1].T, s=6, color="C3", zorder=3)
        axes.set(title=name, xlim=(-1, 1), ylim=(-0.6, 1.2), aspect="equal", xticks=[], yticks=[])
    figure.suptitle("One observation of the fork, 256 plans: ways grey, plans blue, their ends red")
    figure.savefig(RESULTS / "fork.png", dpi=90)


def stages(agent: L1FlowAgent, observation: np.ndarray) -> dict[str, np.ndarray]:
    """The sampler's three stages: first prediction, after the integration step, final prediction."""
    policy, method = agent.policy, agent.policy.method
    assert isinstance(method, L1Flow)
    noise_ = torch.from_numpy(agent.noise(np.zeros(N_PLANS, int), np.arange(N_PLANS)))
    history = torch.from_numpy(observation)[None, None].expand(N_PLANS, 1, -1)
    with torch.inference_mode():
        cond = policy.encode({"observation": history})
        first = policy.network(noise_, torch.zeros(N_PLANS), cond)
        middle = torch.lerp(noise_, first, method.t_mid)
        last = policy.network(middle, torch.full((N_PLANS,), method.t_mid), cond)
        names = ["l1flow: prediction at t = 0", "l1flow: after one step, t = 0.5", "l1flow: final prediction"]
        chunks = [policy.normalizer.unnormalize("action", one).numpy() for one in (first, middle, last)]
        return dict(zip(names, chunks, strict=True))


# ---- PushT ----------------------------------------------------------------------------------------------------------

# The block lies on the mark's axis and must go back along it, while the finger stands on its wrong side: so far the
# block, so far the finger, along (1, -1) from the middle. Mirrored about the axis (`mirror_pusht`) nothing changes.
PLACES = [(block, block + side * 120) for block, side in [(40, -1), (80, -1), (120, -1), (-40, 1), (-80, 1), (-120, 1)]]
BOTH = 0.25  # of the plans on either side


def run_pusht(args: argparse.Namespace) -> None:
    env, rows, shown = gym.make("PushT-v0", obs_type="state", render_mode="rgb_array"), [], {}
    results = [json.loads(path.read_text()) for path in sorted(args.folder.glob(f"runs/*-seed{args.seed}/result.json"))]
    for one in results:
        agent = L1FlowAgent.load(args.folder / "runs" / f"{one['system']}-seed{args.seed}" / "agent")
        for name, row in one["rows"].items():
            acting = agent.with_settings(method_kwargs=row["method_kwargs"])
            plans = [acting.sample(observed(env, *place), N_PLANS) for place in PLACES]
            ends = np.stack([sideways(one) for one in plans])
            left = (ends > 0).mean(axis=1)
            rows.append(
                {
                    "method": name,
                    "evaluations": row["network_evaluations"],
                    "both_sides": float(((left > BOTH) & (left < 1 - BOTH)).mean()),
                    "smaller_side": float(np.minimum(left, 1 - left).mean()),
                    "median_sideways_px": float(np.median(np.abs(ends))),
                }
            )
            print(rows[-1], flush=True)
            shown[name] = plans[0]
    record("pusht", {"command": " ".join(["python", *sys.argv]), "states": PLACES, "rows": rows})
    observed(env, *PLACES[0])
    draw_pusht(np.asarray(env.render()), shown)


def observed(env: gym.Env, block: float, finger: float) -> dict[str, np.ndarray]:
    state = [256 + finger, 256 - finger, 256 + block, 256 - block, np.pi / 4]
    observation: dict[str, np.ndarray] = env.reset(seed=0, options={"reset_to_state": state})[0]
    return observation


def sideways(plans: np.ndarray) -> np.ndarray:
    """Pixels from the axis, signed, of each plan's farthest waypoint."""
    away = (plans.sum(axis=-1) - 512) / np.sqrt(2)
    return np.take_along_axis(away, np.abs(away).argmax(axis=1)[:, None], axis=1)[:, 0]


def draw_pusht(picture: np.ndarray, shown: dict[str, np.ndarray]) -> None:
    figure = Figure(figsize=(3 * 4, 3 * -(-len(shown) // 4)), layout="constrained")
    panels = list(figure.subplots(-(-len(shown) // 4), 4, squeeze=False).flat)
    for axes in panels:
        axes.axis("off")
    for axes, (name, plans) in zip(panels, shown.items(), strict=False):
        axes.imshow(picture, extent=(0, 512, 512, 0))
        for plan in plans[:64]:
            axes.plot(*plan.T, color="C3" if sideways(plan[None])[0] > 0 else "C0", lw=0.7)
        axes.set(title=name, xlim=(0, 512), ylim=(512, 0))
    figure.savefig(RESULTS / "pusht_modes.png", dpi=80)


if __name__ == "__main__":
    main()
