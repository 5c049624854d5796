"""The policy: an agent behind LeRobot's interface."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from torch import Tensor

from l1flow_agents import L1FlowAgent
from l1flow_agents.errors import ConfigError
from l1flow_agents.state import State
from lerobot_policy_l1flow.configuration_l1flow import UNTRAINED, L1FlowConfig
from lerobot_policy_l1flow.continuing import continued
from lerobot_policy_l1flow.features import observations_in
from lerobot_policy_l1flow.folder import config_of, write_lerobot_files


class L1FlowPolicy(PreTrainedPolicy):  # type: ignore[misc]
    """An agent of ours as LeRobot's commands run it.

    The weights are no parameters of this module: the agent holds them, and acts with nothing but them.

    Raises:
        ConfigError: made without an agent, or ``config`` is that of another one.
    """

    config_class = L1FlowConfig
    name = "l1flow"

    def __init__(self, config: L1FlowConfig, agent: L1FlowAgent | None = None, **_: Any) -> None:
        super().__init__(config)
        if agent is None:
            raise ConfigError(f"{UNTRAINED}, and --policy.path loads what it made")
        if config.n_action_steps != agent.n_action_steps:  # --policy.n_action_steps=...
            agent = agent.with_settings(n_action_steps=config.n_action_steps)
        check_same(config, agent)
        self.agent = agent
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | os.PathLike[str],
        *,
        config: L1FlowConfig | None = None,
        revision: str | None = None,
        **settings: Any,
    ) -> L1FlowPolicy:
        """The agent in a folder, or of the Hub id ``owner/name``, that holds LeRobot's ``config.json`` too.

        Args:
            config: in place of that file.
            revision: branch, tag or commit on the Hub.
            settings: of LeRobot's download of that file; what it says of new policies is left out.
        """
        if config is None:
            config = PreTrainedConfig.from_pretrained(pretrained_name_or_path, revision=revision, **settings)
        agent = L1FlowAgent.load(pretrained_name_or_path, device=config.device or "auto", revision=revision)
        policy = cls(config, agent)
        policy.eval()
        return policy

    def _save_pretrained(self, save_directory: Path, state_dict: Any = None) -> None:
        self.agent.save(save_directory)
        write_lerobot_files(self.agent, save_directory)

    def to(self, device: Any = None, *_: Any, **__: Any) -> L1FlowPolicy:
        """The policy itself, its agent on ``device``; a dtype is not taken: the agent's numbers are float32."""
        if isinstance(device, str | torch.device) and torch.device(device).type != self.agent.device.type:
            self.agent = self.agent.with_settings(device=device)
        return self

    # ---- acting ---------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget what was seen and planned: new episodes begin."""
        self._state: State | None = None

    def select_action(self, batch: dict[str, Tensor]) -> Tensor:
        """The next action of each environment, (n, action_dim), as `L1FlowAgent.predict` gives it, planning when due.

        The noise comes from torch's global generator, which ``--seed`` of ``lerobot-eval`` seeds.

        Raises:
            ObservationError: a feature is missing, or does not fit the agent.
        """
        observation = observations_in(batch, self.agent.spaces_by_key)
        action, self._state = self.agent.predict(observation, self._state)
        return torch.from_numpy(action)

    def predict_action_chunk(
        self, batch: dict[str, Tensor], inference_delay: int = 0, prev_chunk_left_over: Tensor | None = None
    ) -> Tensor:
        """A whole plan from now on, (n, chunk_size, action_dim), from these observations alone.

        Args:
            inference_delay, prev_chunk_left_over: for real-time chunking, see `continued`.
        """
        observation = observations_in(batch, self.agent.spaces_by_key)
        if prev_chunk_left_over is None:
            return torch.from_numpy(self.agent.predict_chunk(observation))
        left_over = prev_chunk_left_over.detach().cpu().numpy()
        return torch.from_numpy(continued(self.agent, observation, left_over, inference_delay))

    def supports_rtc(self) -> bool:
        """Whether the agent's method can continue a plan."""
        return self.agent.policy.method.continues

    # ---- not here -------------------------------------------------------------------------------------------------

    def forward(self, batch: dict[str, Tensor]) -> NoReturn:
        raise ConfigError(UNTRAINED)

    def get_optim_params(self) -> NoReturn:
        raise ConfigError(UNTRAINED)


def check_same(config: L1FlowConfig, agent: L1FlowAgent) -> None:
    """Raise ConfigError unless ``config``, which LeRobot has put the environment's actions into, is of ``agent``."""
    for name, expected in config_of(agent).items():
        found = getattr(config, name)
        if name.endswith("_features"):
            found = {key: {"type": one.type.value, "shape": list(one.shape)} for key, one in (found or {}).items()}
        if found != expected:
            raise ConfigError(
                f"{name}: expected the agent's {expected}, got {found}; l1flow-lerobot writes config.json"
            )
