"""Shortcut models (Frans et al. 2024, arXiv 2410.12557): a flow that is also told how far it is to go in one step."""

from __future__ import annotations

import torch
from torch import Tensor

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few
from l1flow_agents.methods.base import Method, Network, masked_mean
from l1flow_agents.methods.told import WIDTH, told

HALVINGS = 7  # the smallest step is 1/128 of the way; a shorter one is told as 0


class Shortcut(Method):
    """The network predicts ``s(x_t, t, d)``, with which ``x_t + d s`` lies d further on the flow from noise to data.

    At d = 0 it learns the velocity ``x1 - x0`` of the path ``x_t = t x1 + (1 - t) x0``; a step of 2 d learns to lead
    where two steps of d do.

    Args:
        n_steps: steps of a plan, a power of two.
    """

    told_dim = WIDTH
    sampler_settings = ("n_steps",)

    def __init__(self, *, n_steps: Few = 1) -> None:
        super().__init__()
        if n_steps not in (powers := [2**k for k in range(HALVINGS + 1)]):
            raise ConfigError(f"shortcut: n_steps must be one of {powers}, got {n_steps}")
        self.n_steps = n_steps

    @property
    def network_evaluations(self) -> int:
        return self.n_steps

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        n, x0 = len(x1), torch.randn_like(x1)
        t = torch.rand(n, device=x1.device)
        velocity = step(network, torch.lerp(x0, x1, t[:, None, None]), t, torch.zeros_like(t), cond)

        whole = 0.5 ** torch.randint(HALVINGS, (n,), device=x1.device)  # 1, 1/2 .. 1/64
        t = (torch.rand(n, device=x1.device) / whole).floor() * whole
        half, x = whole / 2, torch.lerp(x0, x1, t[:, None, None])
        with torch.no_grad():
            first = step(network, x, t, half, cond)
            second = step(network, x + half[:, None, None] * first, t + half, half, cond)
        two = step(network, x, t, whole, cond)
        error = (velocity - (x1 - x0)).square() + (two - (first + second) / 2).square()
        return masked_mean(error, valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        x, size = x0, x0.new_full((x0.shape[0],), 1 / self.n_steps)
        for k in range(self.n_steps):
            x = x + step(network, x, k * size, size, cond) / self.n_steps
        return x


def step(network: Network, x: Tensor, t: Tensor, size: Tensor, cond: Tensor) -> Tensor:
    """s: the mean velocity from ``t`` over ``size``, both (batch,)."""
    halvings = -size.clamp(min=0.5**HALVINGS).log2() / HALVINGS  # 0 for the whole way
    return network(x, t, torch.cat([cond, told(halvings)], dim=-1))
