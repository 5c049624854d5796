"""A network made from somebody's settings: outlined, made and run once before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from l1flow_agents.building import outlined
from l1flow_agents.errors import ConfigError

Encoder = TypeVar("Encoder", bound=nn.Module)
Network = TypeVar("Network", bound=nn.Module)


def made_and_tried(
    make: Callable[[], tuple[Encoder, Network]],
    shapes: Mapping[str, tuple[int, ...]],
    n_obs_steps: int,
    chunk: tuple[int, int],
    what: str,
    told_dim: int = 0,
) -> tuple[Encoder, Network]:
    """``make()``, an encoder of observations with ``shapes`` and a network of chunks (horizon, action_dim).

    ``told_dim`` columns behind the encoder's are for the method to fill.

    Raises:
        ConfigError: more than `l1flow_agents.limits` allow, or sizes that do not go together.
    """
    if torch.empty(0).is_meta:  # the outline of a checkpoint: bounded already, and held against its file
        return make()
    try:
        with outlined():  # what is too large is found before it takes memory; draws nothing
            make()
        encoder, network = make()
        with torch.no_grad():
            observations = {key: torch.zeros(2, n_obs_steps, *(shape or (1,))) for key, shape in shapes.items()}
            cond = nn.functional.pad(encoder.eval()(observations), (0, told_dim))
            network.eval()(torch.zeros(2, *chunk), torch.zeros(2), cond)
        return encoder.train(), network.train()
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}" if str(error).startswith("a network of") else str(error)) from None
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{what}: these settings make no network: {reason[:300]}") from error
