"""What an agent is made of, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from l1flow_agents.checks import DATACLASS, checked_arguments
from l1flow_agents.data.chunks import check_chunk_lengths
from l1flow_agents.errors import ConfigError
from l1flow_agents.frozen import frozen
from l1flow_agents.kinds import Few, Settings, Text
from l1flow_agents.names import check_names, plain


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Network, method and lengths of a chunk; what the ``agent`` part of a configuration and of a checkpoint holds.

    Nothing in it can be changed, mappings included; values of NumPy become Python's and lists become tuples.

    Raises:
        ConfigError: a value of another kind, or lengths that do not fit each other.
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
    frame: str = ""
    """A name in `l1flow_agents.networks.frames.FRAMES`: observations are seen from there too, and actions are."""
    network_kwargs: Settings = field(default_factory=dict)
    """Settings of the network's class."""
    encoder_kwargs: Settings = field(default_factory=dict)
    """Settings of `ObservationEncoder`."""
    method_kwargs: Settings = field(default_factory=dict)
    """Settings of the method's class."""

    def __post_init__(self) -> None:
        given = {one.name: plain(getattr(self, one.name)) for one in fields(self)}
        for name, value in checked_arguments(type(self), given, "agent").items():
            object.__setattr__(self, name, frozen(value))
        check_chunk_lengths(self.horizon, self.n_obs_steps, self.n_action_steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML holds them."""
        return {one.name: plain(getattr(self, one.name)) for one in fields(self)}


SETTINGS = tuple(one.name for one in fields(AgentSettings))
CHANGEABLE = ("n_action_steps", "method_kwargs")  # settings on which trained weights do not, or not all, depend


def check_changeable(settings: AgentSettings, changes: Mapping[str, Any]) -> None:
    """Raise ConfigError if ``changes`` touch what trained weights depend on; the value that is there is no change."""
    check_names(changes, SETTINGS, "agent")
    for name, value in changes.items():
        if name not in CHANGEABLE and frozen(value) != getattr(settings, name):
            raise ConfigError(
                f"{name} is {getattr(settings, name)!r} and the weights depend on it; what may change is "
                f"{', '.join(CHANGEABLE)} and device, by agent.with_settings(...)"
            )
