"""``l1flow run`` and ``serve``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from l1flow_agents.errors import ConfigError

SIMULATED_HZ = 20  # of the data that agents of this library's environments learned from


def add_realtime(command: Callable[..., argparse.ArgumentParser]) -> None:
    running = command("run", run_robot, "Let an agent move a robot in real time; exit code 1 if it had to be stopped.")
    running.add_argument("robot", help="environment id of a simulated arm, or module:name of what makes your own")
    running.add_argument("overrides", nargs="*", metavar="setting=value", help="of the robot: camera_delay=0.05")
    policy = running.add_mutually_exclusive_group(required=True)
    policy.add_argument("--agent", help="checkpoint folder or published name, planning in a process of its own here")
    policy.add_argument("--server", metavar="ADDRESS", help="of l1flow serve, such as tcp://10.0.0.2:5757")
    running.add_argument("--hz", type=float, required=True, help="actions a second")
    running.add_argument(
        "--plan-hz", type=float, help="of a plan's rows, as in the data (default: --hz; simulated: 20)"
    )
    running.add_argument("--seconds", type=float, default=20.0, help="an episode (default: %(default)s)")
    running.add_argument("-n", "--episodes", type=int, default=1, help="default: %(default)s")
    running.add_argument("--seed", type=int, default=0, help="of noise and simulated episodes (default: %(default)s)")
    running.add_argument("--sequential", action="store_true", help="hold still while a plan is made")
    running.add_argument("-o", "--output", metavar="FILE", help="robomimic file to record to, such as run.hdf5")
    serving = command("serve", run_serve, "Plan for robots elsewhere, for those who know the token.")
    serving.add_argument("agent", help="checkpoint folder, published name, or Hub id")
    serving.add_argument("--address", default="tcp://127.0.0.1:5757", help="default: %(default)s, this machine only")
    for sub in (running, serving):
        sub.add_argument("--token", metavar="FILE", help="what both sides know (default: ~/.config/l1flow/token)")
        sub.add_argument("--device", default="auto", help="of the agent (default: %(default)s)")
        sub.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default: %(default)s)")


def run_robot(arguments: argparse.Namespace) -> int:
    from l1flow_agents.data.robomimic_writer import RobomimicWriter
    from l1flow_agents.realtime.client import PolicyProcess, RemotePlanner
    from l1flow_agents.realtime.loop import run
    from l1flow_agents.realtime.robot import ask_for_priority
    from l1flow_agents.realtime.robots import open_robot
    from l1flow_agents.realtime.wire import read_token

    if unclear := [one for one in arguments.overrides if "=" not in one]:
        raise ConfigError(f"expected settings of the robot, setting=value, got {unclear[0]!r}")
    settings = dict(one.split("=", 1) for one in arguments.overrides)
    with ExitStack() as stack:
        planner = (
            RemotePlanner(arguments.server, read_token(arguments.token))
            if arguments.server
            else PolicyProcess(arguments.agent, arguments.device, arguments.threads)
        )
        stack.enter_context(planner)
        robot, described = open_robot(arguments.robot, settings)
        stack.callback(getattr(robot, "close", robot.stop))
        writer = stack.enter_context(RobomimicWriter(arguments.output, described)) if arguments.output else None
        simulated = hasattr(robot, "seed")
        plan_hz = arguments.plan_hz or (SIMULATED_HZ if simulated else arguments.hz)
        told: list[dict[str, Any]] = []
        ask_for_priority()
        for seed in range(arguments.seed, arguments.seed + arguments.episodes):
            if simulated:
                robot.seed = seed  # type: ignore[attr-defined]
            one = run(
                robot,
                planner,
                arguments.hz,
                arguments.seconds,
                plan_hz=plan_hz,
                sequential=arguments.sequential,
                seed=seed,
                record=writer is not None,
            )
            told.append(one.summary())
            print(json.dumps(told[-1]), flush=True)
            if writer is not None and (demonstration := one.demonstration()) is not None:
                writer.append(demonstration)
            if one.stopped:
                break
    return int(any(one["stopped"] for one in told))


def run_serve(arguments: argparse.Namespace) -> int:
    from l1flow_agents.agent import ChunkAgent
    from l1flow_agents.realtime.planning import warm_up
    from l1flow_agents.realtime.server import PolicyServer
    from l1flow_agents.realtime.wire import read_token

    agent = ChunkAgent.load(arguments.agent, device=arguments.device)
    warm_up(agent)
    with PolicyServer(agent, read_token(arguments.token, make=True), arguments.address) as server:
        print(f"{arguments.agent} plans at {server.address}", flush=True)
        server.serve()
    return 0
