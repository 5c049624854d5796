"""A trained network's weights in one whose condition has more columns: it computes what it did, deaf to those."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from l1flow_agents.errors import ConfigError


def copy_widened(trained: nn.Module, network: nn.Module, chunk: tuple[int, int], cond_dim: int, added: int) -> None:
    """Copy ``trained``'s weights into ``network``, with zeros for the ``added`` last numbers of its condition.

    Which columns of a layer those are is found out by a call with NaN for them.

    Args:
        chunk: (horizon, action_dim).
        cond_dim: length of the condition of ``trained``.

    Raises:
        ConfigError: a layer other than a linear one takes the condition, or one that does not take it as it is.
    """
    if not added:
        network.load_state_dict(trained.state_dict())
        return
    state = dict(trained.state_dict())
    wider = {name: part for name, part in network.state_dict().items() if part.shape != state[name].shape}
    columns = {name: torch.zeros(0, dtype=torch.bool) for name in wider}
    hooks = [
        layer.register_forward_pre_hook(_seen(columns, f"{name}.weight"))
        for name, layer in network.named_modules()
        if f"{name}.weight" in wider and isinstance(layer, nn.Linear)
    ]
    where = next(network.parameters()).device
    cond = torch.zeros(1, cond_dim + added, device=where)
    cond[:, cond_dim:] = math.nan
    with torch.no_grad():
        network(torch.zeros(1, *chunk, device=where), torch.zeros(1, device=where), cond)
    for hook in hooks:
        hook.remove()
    for name, new in columns.items():
        if int(new.sum()) != added:
            raise ConfigError(f"expected a network that takes the condition by linear layers, got {name} that does not")
        widened = torch.zeros_like(wider[name])
        widened[:, ~new] = state[name]
        state[name] = widened
    network.load_state_dict(state)


def _seen(columns: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that notes in which columns a layer is given NaN."""

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        columns[name] = given[0].isnan().flatten(0, -2).any(dim=0)

    return note
