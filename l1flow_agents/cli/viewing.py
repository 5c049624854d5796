"""``l1flow view``."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_view(command: Callable[..., argparse.ArgumentParser]) -> None:
    viewing = command("view", run_view, "Write one HTML page that shows a data set, or what an evaluation left.")
    viewing.add_argument("source", help="data set of any format, or a folder of l1flow rollout or eval --output")
    viewing.add_argument("-o", "--output", required=True, metavar="FILE", help="such as page.html")
    viewing.add_argument("--agent", help="draw its plans over the demonstrated actions")
    viewing.add_argument("-n", "--episodes", type=int, default=20, help="to play, 20 at most (default: %(default)s)")
    viewing.add_argument("--filter-key", metavar="KEY", help="only episodes under mask/KEY, of a split or of a task")
    viewing.add_argument("--device", default="auto", help="of the agent (default: %(default)s)")


def run_view(arguments: argparse.Namespace) -> int:
    from l1flow_agents.agent import ChunkAgent
    from l1flow_agents.viewing import view

    agent = ChunkAgent.load(arguments.agent, device=arguments.device) if arguments.agent else None
    print(view(arguments.source, arguments.output, agent, arguments.episodes, arguments.filter_key))
    return 0
