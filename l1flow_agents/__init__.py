"""L1 Flow agents: fast visuomotor policies for Gymnasium environments.

Importing this package registers its environments; nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l1flow_agents.lazy import lazily

try:
    from l1flow_agents.envs import register_envs
except ModuleNotFoundError as error:
    if error.name != "l1flow_agents.envs":
        raise
    raise ImportError(
        "l1flow_agents/envs and l1flow_agents/wrappers must be links to the folders beside the package; on Windows: "
        "switch developer mode on and clone with `git clone -c core.symlinks=true`"
    ) from None

if TYPE_CHECKING:
    from l1flow_agents.agent import ChunkAgent, L1FlowAgent
    from l1flow_agents.data import Episodes
    from l1flow_agents.evaluation import EvaluationResult, evaluate

__all__ = ["ChunkAgent", "Episodes", "EvaluationResult", "L1FlowAgent", "evaluate", "open_dataset"]
__version__ = "0.1.0"

__getattr__ = lazily(
    __name__,
    {
        "ChunkAgent": "l1flow_agents.agent",
        "Episodes": "l1flow_agents.data",
        "EvaluationResult": "l1flow_agents.evaluation",
        "L1FlowAgent": "l1flow_agents.agent",
        "evaluate": "l1flow_agents.evaluation",
        "open_dataset": "l1flow_agents.data",
    },
)

register_envs()
