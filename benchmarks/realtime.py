"""How fast a plan must be: success of an arm that does not wait, and the deadlines of the loop that drives it.

    python benchmarks/realtime.py success --env Square-v0 --agent square-state --rates 20 -n 6
    python benchmarks/realtime.py deadlines --minutes 30
    python benchmarks/realtime.py plot

``success``: rate x latency x method x way of acting, on a virtual clock: the same result on a busy machine.
All methods have the agent's own plans; each plan comes after the time that the method takes for one on this machine
(its evaluations of the agent's network, processor time, median) and the latency. So what is compared is how long plans
take, not how good they are. ``deadlines``: wall clock, arm, camera and policy in processes of their own.
Adds to ``--json`` what it has measured; seeds from 50000.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l1flow_agents import L1FlowAgent
from l1flow_agents.files import write_atomically
from l1flow_agents.methods import METHODS
from l1flow_agents.policy import to_tensor
from l1flow_agents.realtime import ArmProcess, ArmSetup, Line, PolicyProcess, run
from l1flow_agents.realtime.planning import DelayedPlanner
from l1flow_agents.realtime.robot import VirtualClock, ask_for_priority
from l1flow_agents.realtime.simulated_arm import SimulatedArm, SimulatedRobot
from l1flow_agents.seeds import VALIDATION_SEED

JSON = Path(__file__).parent / "results" / "realtime.json"
NAMES = {"l1flow": "L1 Flow", "flow_matching": "Flow Matching", "ddpm": "DDPM"}
WAYS = {"asynchronous": False, "sequential": True}
PLAN_HZ = 20  # of the agents' data
TIME = 20.0  # seconds that an episode may take
LINE = Line(camera_delay=0.02, action_delay=0.01, jitter=0.005, loss=0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("success", "deadlines", "plot"))
    parser.add_argument("--env", default="Lift-v0")
    parser.add_argument("--agent", default="lift-state")
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 20, 50], help="actions a second")
    parser.add_argument("--latencies", type=float, nargs="+", default=[0, 0.05, 0.1, 0.2], help="seconds a plan")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=[*NAMES])
    parser.add_argument("-n", "--episodes", type=int, default=5, help="a cell")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--hz", type=float, default=50, help="of the deadlines")
    parser.add_argument("--smoke", action="store_true", help="one cell and episode")
    parser.add_argument("--json", type=Path, default=JSON)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.smoke:
        args.rates, args.latencies, args.methods, args.episodes = [20], [0], ["l1flow"], 1
    record = json.loads(args.json.read_text()) if args.json.exists() else {}
    if args.part == "success":
        record.setdefault("success", {})[args.env] = {
            "agent": args.agent,
            "episodes": args.episodes,
            "rows": success(args, L1FlowAgent.load(args.agent, device="cpu"), args.episodes),
        }
    elif args.part == "deadlines":
        record["deadlines"] = deadlines(args)
    if args.part != "plot":
        write_atomically(args.json, json.dumps(record, indent=1) + "\n")
    if record.get("success"):
        plot(record["success"], args.json.with_suffix(".png"))


def success(args: argparse.Namespace, agent: L1FlowAgent, n_episodes: int) -> list[dict[str, Any]]:
    arm, rows = SimulatedArm(args.env, LINE), []
    seconds = {method: planning_seconds(agent, method) for method in args.methods}
    for method in args.methods:
        for hz in args.rates:
            for latency in args.latencies:
                for way, sequential in WAYS.items():
                    delay = seconds[method] + latency
                    told = [episode(agent, arm, seed, hz, delay, sequential) for seed in seeds(n_episodes)]
                    times = [one["seconds"] for one in told if one["done"]]
                    row = {
                        **{"method": method, "hz": hz, "latency_s": latency, "way": way},
                        "planning_s": round(seconds[method], 5),
                        "successes": len(times),
                        "seconds": round(float(np.mean(times)), 2) if times else None,
                        "held_share": round(float(np.mean([one["held"] / one["ticks"] for one in told])), 3),
                    }
                    print(row, flush=True)
                    rows.append(row)
    return rows


def seeds(n: int) -> range:
    return range(VALIDATION_SEED, VALIDATION_SEED + n)


def episode(
    agent: L1FlowAgent, arm: SimulatedArm, seed: int, hz: float, delay: float, sequential: bool
) -> dict[str, Any]:
    clock = VirtualClock()
    robot, planner = SimulatedRobot(arm, clock, seed), DelayedPlanner(agent, clock, lambda: delay)
    return run(robot, planner, hz, TIME, plan_hz=PLAN_HZ, clock=clock, sequential=sequential, seed=seed).summary()


def planning_seconds(agent: L1FlowAgent, name: str, rounds: int = 15) -> float:
    """Median processor time of a plan by that method's sampler on the agent's network, trained or not."""
    policy, method = agent.policy, METHODS[name]()
    method.fit_to(agent.horizon, agent.action_space.shape[0], policy.encoder.cond_dim)
    history = {key: np.zeros((1, agent.n_obs_steps, *box.shape), box.dtype) for key, box in agent.spaces_by_key.items()}
    noise = torch.zeros(1, agent.horizon, agent.action_space.shape[0])
    taken = []

    def once() -> None:
        tensors = {key: to_tensor(past, agent.device) for key, past in history.items()}
        method.sample(policy._traced, noise, policy.encode(tensors))

    with torch.inference_mode():
        for _ in range(60 // method.network_evaluations):  # until the network is traced
            once()
        for _ in range(rounds):
            begin = time.process_time()
            once()
            taken.append(time.process_time() - begin)
    return float(np.median(taken))


def deadlines(args: argparse.Namespace) -> dict[str, Any]:
    ask_for_priority()
    setup = ArmSetup(args.env, LINE, dead_man=1.0)
    with PolicyProcess(args.agent, "cpu") as planner, ArmProcess(setup, VALIDATION_SEED) as robot:
        load = os.getloadavg()[0]
        told = run(_Endless(robot), planner, args.hz, 60 * args.minutes, plan_hz=PLAN_HZ)
    return {
        **{"env": args.env, "agent": args.agent, "minutes": args.minutes},
        "real_time_priority": bool(os.sched_getscheduler(0) & os.SCHED_FIFO),
        **told.summary(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
    }


class _Endless:
    """A robot that is never done."""

    def __init__(self, robot: ArmProcess) -> None:
        self._robot = robot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._robot, name)

    def observe(self) -> Any:
        reading = self._robot.observe()
        return reading and replace(reading, done=False)


def plot(record: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    rates = {env: sorted({row["hz"] for row in part["rows"]}) for env, part in record.items()}
    panels = [(env, way, hz) for env in record for way in WAYS for hz in rates[env]]
    n_columns = max(map(len, rates.values()))
    lines = list(dict.fromkeys(panel[:2] for panel in panels))
    figure = Figure((3.2 * n_columns, 2.5 * len(lines)), layout="constrained")
    axes = figure.subplots(len(lines), n_columns, squeeze=False, sharey=True)
    for one in axes.flat:
        one.set_axis_off()
    for env, way, hz in panels:
        one = axes[lines.index((env, way))][rates[env].index(hz)]
        one.set_axis_on()
        one.set_title(f"{env}, {way}, {hz:g} Hz", fontsize=9)
        for method, name in NAMES.items():
            rows = [r for r in record[env]["rows"] if (r["method"], r["way"], r["hz"]) == (method, way, hz)]
            if rows:
                label = f"{name}, {1e3 * rows[0]['planning_s']:.0f} ms a plan"
                shares = [row["successes"] / record[env]["episodes"] for row in rows]
                one.plot([1e3 * row["latency_s"] for row in rows], shares, "o-", label=label, alpha=0.8)
        one.set_ylim(-0.05, 1.05)
        one.set_xlabel("latency, ms", fontsize=8)
        one.set_ylabel(f"success of {record[env]['episodes']}", fontsize=8)
        one.legend(fontsize=6)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
