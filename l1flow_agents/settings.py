"""What an agent is made of, as one frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field

from l1flow_agents.checks import DATACLASS
from l1flow_agents.data.chunks import check_chunk_lengths
from l1flow_agents.kinds import Few, Settings, Text


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Network, method and lengths of a chunk; what the ``agent`` part of a configuration and of a checkpoint holds.

    Raises:
        ConfigError: lengths that do not fit each other.
    """

    __pydantic_config__ = DATACLASS

    network: Text
    """A name in `l1flow_agents.networks.NETWORKS`."""
    method: Text = "l1flow"
    """A name in `l1flow_agents.methods.METHODS`."""
    horizon: Few = 16
    """Length of a chunk."""
    n_obs_steps: Few = 2
    """Observations that a plan looks at."""
    n_action_steps: Few = 8
    """Actions executed before the next plan."""
    network_kwargs: Settings = field(default_factory=dict)
    """Settings of the network's class."""
    encoder_kwargs: Settings = field(default_factory=dict)
    """Settings of `ObservationEncoder`."""
    method_kwargs: Settings = field(default_factory=dict)
    """Settings of the method's class."""

    def __post_init__(self) -> None:
        check_chunk_lengths(self.horizon, self.n_obs_steps, self.n_action_steps)
