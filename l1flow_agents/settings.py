"""What an agent is made of, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any

from l1flow_agents.data.chunks import check_chunk_lengths
from l1flow_agents.errors import ConfigError
from l1flow_agents.frozen import frozen
from l1flow_agents.names import check_names, plain


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Network, method and lengths of a chunk; what the ``agent`` part of a configuration and of a checkpoint holds.

    Nothing in it can be changed, mappings included; values of NumPy become Python's and lists become tuples.

    Raises:
        ConfigError: a value of another kind, or lengths that do not fit each other.
    """

    network: str
    """A name in `l1flow_agents.networks.NETWORKS`."""
    method: str = "l1flow"
    """A name in `l1flow_agents.methods.METHODS`."""
    horizon: int = 16
    """Length of a chunk."""
    n_obs_steps: int = 2
    """Observations that a plan looks at."""
    n_action_steps: int = 8
    """Actions executed before the next plan."""
    network_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the network's class."""
    encoder_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `ObservationEncoder`."""
    method_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the method's class."""

    def __post_init__(self) -> None:
        for name in ("network", "method"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"agent: {name} must be a name, got {getattr(self, name)!r}")
        for name in ("horizon", "n_obs_steps", "n_action_steps"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise ConfigError(f"agent: {name} must be a whole number, got {value!r}")
            object.__setattr__(self, name, int(value))
        check_chunk_lengths(self.horizon, self.n_obs_steps, self.n_action_steps)
        for name in ("network_kwargs", "encoder_kwargs", "method_kwargs"):
            value = {} if getattr(self, name) is None else getattr(self, name)
            if not isinstance(value, Mapping):
                raise ConfigError(f"agent: {name} must be a mapping of settings, got {value!r}")
            object.__setattr__(self, name, frozen(value))

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
