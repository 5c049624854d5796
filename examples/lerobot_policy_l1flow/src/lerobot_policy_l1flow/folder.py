"""What LeRobot reads, written beside an agent's files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l1flow_agents import L1FlowAgent
from l1flow_agents.checkpoint import LEROBOT, find
from l1flow_agents.data.normalizer import ACTION
from l1flow_agents.errors import L1FlowError
from l1flow_agents.files import write_atomically
from lerobot_policy_l1flow.features import described


def write_lerobot_files(agent: L1FlowAgent, folder: Path) -> None:
    """Write ``config.json`` and the two processors beside the files of ``agent``, which are in ``folder``."""
    config, before, after = LEROBOT
    for name, content in {config: config_of(agent), before: PREPROCESSOR, after: POSTPROCESSOR}.items():
        write_atomically(folder / name, json.dumps(content, indent=2) + "\n")


def config_of(agent: L1FlowAgent) -> dict[str, Any]:
    """The fields of `L1FlowConfig`. No device is in it: LeRobot takes what is there, or ``--policy.device``."""
    return {
        "type": "l1flow",
        "n_obs_steps": agent.n_obs_steps,
        "chunk_size": agent.horizon - agent.n_obs_steps + 1,
        "n_action_steps": agent.n_action_steps,
        "input_features": described(agent.spaces_by_key),
        "output_features": {ACTION: {"type": "ACTION", "shape": list(agent.action_space.shape)}},
    }


def step(name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


# Nothing is normalised here: the agent does it. LeRobot puts the device at hand in the place of "cpu"
DEVICE = step("device_processor", device="cpu", float_dtype=None)
RENAMED = step("rename_observations_processor", rename_map={})
PREPROCESSOR = {"name": "policy_preprocessor", "steps": [RENAMED, step("to_batch_processor"), DEVICE]}
POSTPROCESSOR = {"name": "policy_postprocessor", "steps": [DEVICE]}


def main(arguments: Sequence[str] | None = None) -> None:
    """``l1flow-lerobot AGENT FOLDER``."""
    parser = argparse.ArgumentParser(prog="l1flow-lerobot", description="Let LeRobot run an agent.")
    parser.add_argument("agent", help="folder, published name or Hub id owner/name")
    parser.add_argument("folder", type=Path, help="where agent and LeRobot's files are written; may be the agent's own")
    given = parser.parse_args(arguments)
    try:
        agent = L1FlowAgent.load(given.agent, device="cpu")
        if not (given.folder.is_dir() and given.folder.samefile(find(given.agent))):
            agent.save(given.folder)
        write_lerobot_files(agent, given.folder)
    except (L1FlowError, OSError) as error:
        sys.exit(f"l1flow-lerobot: {error}")
    print(f"lerobot-eval --policy.path={given.folder}")
