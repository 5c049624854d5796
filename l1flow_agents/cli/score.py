"""``l1flow eval``, ``rollout`` and ``export``."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from l1flow_agents.errors import ConfigError


def run_eval(arguments: argparse.Namespace) -> int:
    if arguments.cluster and arguments.device not in ("auto", "cpu"):
        raise ConfigError(f"a cluster scores on its machines' cores: expected device cpu, got {arguments.device!r}")
    return _evaluate(arguments, arguments.agent, video=None, cluster=arguments.cluster)


def run_rollout(arguments: argparse.Namespace) -> int:
    from l1flow_agents.evaluation import default_agent
    from l1flow_agents.video import VideoRecorder

    if not (arguments.agent or arguments.env):
        print("l1flow rollout: error: expected an agent or --env", file=sys.stderr)
        return 2
    video = VideoRecorder(arguments.output, range(arguments.films), grid=arguments.grid, overlay=arguments.overlay)
    return _evaluate(arguments, arguments.agent or default_agent(arguments.env), video)


def run_export(arguments: argparse.Namespace) -> int:
    from l1flow_agents.agent import L1FlowAgent

    L1FlowAgent.load(arguments.agent, device="cpu").export(arguments.output)
    print(arguments.output)
    return 0


def _evaluate(arguments: argparse.Namespace, name: str, video: Any, cluster: str | None = None) -> int:
    from l1flow_agents.agent import L1FlowAgent
    from l1flow_agents.evaluation import evaluate
    from l1flow_agents.files import output_path

    if arguments.output:
        output_path(arguments.output, folder=True)
    agent = L1FlowAgent.load(name, device="cpu" if cluster else arguments.device)
    if arguments.n_action_steps is not None:
        agent = agent.with_settings(n_action_steps=arguments.n_action_steps)
    with redirect_stdout(sys.stderr):  # where Ray reports a lost machine
        result = evaluate(
            agent,
            arguments.env,
            arguments.episodes,
            arguments.seed,
            arguments.n_envs,
            success_key=arguments.success_key,
            chunked=not arguments.replan_every_step,
            video=video,
            progress_bar=not arguments.json,
            cluster=cluster,
        )
    result.agent = name
    if arguments.output:
        result.save(Path(arguments.output) / "results.json", command=arguments.command_line)
    if arguments.json:
        print(result.to_json())
    else:
        print(result)
        for path in [*result.videos, *([Path(arguments.output) / "results.json"] if arguments.output else [])]:
            print(path)
    return 1 if result.failed else 0
