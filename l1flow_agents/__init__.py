"""L1 Flow agents: fast visuomotor policies for Gymnasium environments.

Importing this package registers its environments; nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from l1flow_agents.envs import register_envs

if TYPE_CHECKING:
    from l1flow_agents.agent import L1FlowAgent
    from l1flow_agents.data import Episodes
    from l1flow_agents.evaluation import EvaluationResult, evaluate

__all__ = ["Episodes", "EvaluationResult", "L1FlowAgent", "evaluate", "open_dataset"]
__version__ = "0.1.0"

_HOME = {
    "L1FlowAgent": "l1flow_agents.agent",
    "Episodes": "l1flow_agents.data",
    "open_dataset": "l1flow_agents.data",
    "EvaluationResult": "l1flow_agents.evaluation",
    "evaluate": "l1flow_agents.evaluation",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a worker that only steps an environment never loads torch."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_envs()
