"""LeRobot's record of an agent; what the agent is made of stands in its own ``config.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from lerobot.configs import PreTrainedConfig

from l1flow_agents.errors import ConfigError

UNTRAINED = "LeRobot runs agents of l1flow-agents, it does not train them: l1flow train does"


@PreTrainedConfig.register_subclass("l1flow")
@dataclass
class L1FlowConfig(PreTrainedConfig):  # type: ignore[misc]
    """Written by `folder.write_lerobot_files`.

    Args:
        chunk_size: actions of a plan, from now on.
        n_action_steps: those of them that are executed before the next plan.
    """

    chunk_size: int = 16
    n_action_steps: int = 8

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def validate_features(self) -> None:
        pass

    def get_optimizer_preset(self) -> NoReturn:
        raise ConfigError(UNTRAINED)

    def get_scheduler_preset(self) -> None:
        return None
