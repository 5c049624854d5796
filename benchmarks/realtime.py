"""How fast a plan must be: success of an arm that does not wait, and the deadlines of the loop that drives it.

    python benchmarks/realtime.py success -n 20            an hour on one core; after realtime_agents.py
    python benchmarks/realtime.py deadlines --minutes 30
    python benchmarks/realtime.py plot

``success``: method x rate x latency x way of acting, on a virtual clock: the same result on a busy machine. Each method
has an agent of its own, trained by `realtime_agents.py` on the same recordings of this arm; a plan comes after the time
that it takes on this machine (processor time, median) and the latency. ``deadlines``: wall clock; arm, camera, policy
are processes of their own. Adds to ``--json`` what it has measured; seeds from 50000.
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
import realtime_agents
import torch

from l1flow_agents.agent import ChunkAgent
from l1flow_agents.files import write_atomically
from l1flow_agents.realtime import ArmProcess, ArmSetup, PolicyProcess, run
from l1flow_agents.realtime.planning import DelayedPlanner, plan, spec_of, warm_up
from l1flow_agents.realtime.robot import VirtualClock, ask_for_priority
from l1flow_agents.realtime.simulated_arm import SimulatedArm
from l1flow_agents.realtime.wire import Request
from l1flow_agents.seeds import VALIDATION_SEED

JSON = Path(__file__).parent / "results" / "realtime.json"
NAMES = {"l1flow": "L1 Flow", "flow_matching": "Flow Matching", "ddpm": "DDPM"}
WAYS = {"asynchronous": False, "sequential": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("success", "deadlines", "plot"))
    parser.add_argument("--env", default="Square-v0")
    parser.add_argument("--runs", type=Path, default=realtime_agents.RUNS, help="where the methods' agents are")
    parser.add_argument("--agent", default="square-state", help="of the deadlines")
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 20, 50], help="actions a second")
    parser.add_argument("--latencies", type=float, nargs="+", default=[0, 0.05, 0.1, 0.2], help="seconds a plan")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=[*NAMES])
    parser.add_argument("-n", "--episodes", type=int, default=20, help="a cell")
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
        part = record.setdefault("success", {}).setdefault(args.env, {"rows": []})
        others = [row for row in part["rows"] if row["method"] not in args.methods]
        record["success"][args.env] = {"episodes": args.episodes, "rows": others + success(args)}
    elif args.part == "deadlines":
        record["deadlines"] = deadlines(args)
    if args.part != "plot":
        write_atomically(args.json, json.dumps(record, indent=1) + "\n")
    if record.get("success"):
        plot(record["success"], args.json.with_suffix(".png"))


def success(args: argparse.Namespace) -> list[dict[str, Any]]:
    arm, rows = realtime_agents.make_arm(args.env), []
    for method in args.methods:
        agent = ChunkAgent.load(realtime_agents.agent_of(args.runs, args.env, method), device="cpu")
        planning = planning_seconds(agent)
        for hz in args.rates:
            for latency in args.latencies:
                for way, sequential in WAYS.items():
                    seeds = range(VALIDATION_SEED, VALIDATION_SEED + args.episodes)
                    told = [episode(agent, arm, seed, hz, planning + latency, sequential) for seed in seeds]
                    times = [one["seconds"] for one in told if one["done"]]
                    row = {
                        **{"method": method, "hz": hz, "latency_s": latency, "way": way},
                        "planning_s": round(planning, 5),
                        "successes": len(times),
                        "seconds": round(float(np.mean(times)), 2) if times else None,
                        "held_share": round(float(np.mean([one["held"] / one["ticks"] for one in told])), 3),
                    }
                    print(row, flush=True)
                    rows.append(row)
    return rows


def episode(
    agent: ChunkAgent, arm: SimulatedArm, seed: int, hz: float, delay: float, sequential: bool
) -> dict[str, Any]:
    clock, limit = VirtualClock(), realtime_agents.TIME
    robot, planner = realtime_agents.PoseRobot(arm, clock, seed), DelayedPlanner(agent, clock, lambda: delay)
    plan_hz = realtime_agents.HZ
    return run(robot, planner, hz, limit, plan_hz=plan_hz, clock=clock, sequential=sequential, seed=seed).summary()


def planning_seconds(agent: ChunkAgent, rounds: int = 15) -> float:
    """Median processor time of a plan here."""
    spec = spec_of(agent)
    history = {key: np.zeros((spec.n_obs_steps, *shape), dtype) for key, (shape, dtype) in spec.observations.items()}
    nothing = np.zeros((spec.n_rows, spec.action_dim), np.float32), np.zeros(spec.n_rows, np.float32)
    warm_up(agent)
    taken = []
    for number in range(rounds):
        begin = time.process_time()
        plan(agent, Request(number, 0, history, *nothing))
        taken.append(time.process_time() - begin)
    return float(np.median(taken))


def deadlines(args: argparse.Namespace) -> dict[str, Any]:
    ask_for_priority()
    setup = ArmSetup(args.env, realtime_agents.LINE, dead_man=1.0)
    with PolicyProcess(args.agent, "cpu") as planner, ArmProcess(setup, VALIDATION_SEED) as robot:
        load = os.getloadavg()[0]
        told = run(_Endless(robot), planner, args.hz, 60 * args.minutes, plan_hz=realtime_agents.HZ)
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
    """Of each task a line of success and one of the seconds that it took; a column a rate, a colour a method."""
    from matplotlib.figure import Figure

    rates = {env: sorted({row["hz"] for row in part["rows"]}) for env, part in record.items()}
    n_columns = max(map(len, rates.values()))
    figure = Figure((3.4 * n_columns, 5 * len(record)), layout="constrained")
    axes = figure.subplots(2 * len(record), n_columns, squeeze=False, sharex=True, sharey="row")
    for one in axes.flat:
        one.set_axis_off()
    for k, (env, part) in enumerate(record.items()):
        for column, hz in enumerate(rates[env]):
            above, below = axes[2 * k][column], axes[2 * k + 1][column]
            above.set_title(f"{env}, {hz:g} Hz", fontsize=9)
            for one in (above, below):
                one.set_axis_on()
                one.grid(alpha=0.3)
            for color, (method, name) in enumerate(NAMES.items()):
                for way in WAYS:
                    rows = [r for r in part["rows"] if (r["method"], r["way"], r["hz"]) == (method, way, hz)]
                    if not rows:
                        continue
                    look = {"color": f"C{color}", "marker": "o", "markersize": 4, "alpha": 0.8}
                    look |= {"linestyle": "--" if way == "sequential" else "-"}
                    label = f"{name}, {1e3 * rows[0]['planning_s']:.0f} ms a plan, {way}"
                    latencies = [1e3 * row["latency_s"] for row in rows]
                    above.plot(latencies, [row["successes"] / part["episodes"] for row in rows], label=label, **look)
                    below.plot(latencies, [row["seconds"] or np.nan for row in rows], **look)
            above.set_ylim(-0.05, 1.05)
            below.set_xlabel("latency, ms", fontsize=8)
        axes[2 * k][0].set_ylabel(f"success of {part['episodes']}", fontsize=8)
        axes[2 * k + 1][0].set_ylabel("seconds to success", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(NAMES), fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
