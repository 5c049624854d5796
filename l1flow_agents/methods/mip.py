"""MIP, a minimal iterative policy (arXiv 2512.01809): two regression steps, L1 Flow's closest rival."""

from __future__ import annotations

import torch
from torch import Tensor

from l1flow_agents.methods.base import Method, Network, masked_mean

LATE = 0.9  # share of the chunk in what the second step is given


class MIP(Method):
    """The network regresses the chunk from nothing at t = 0, and again from 0.9 of it at t = 0.9.

    What it is given there in training is ``0.9 x1 + 0.1 z`` with normal z; a plan gives it 0.9 of its first answer.
    """

    @property
    def network_evaluations(self) -> int:
        return 2

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        x_late = torch.lerp(torch.randn_like(x1), x1, LATE)
        first, second = self.first(network, x1, cond) - x1, self.second(network, x_late, cond) - x1
        return masked_mean(first.square() + second.square(), valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        """The same for every noise ``x0``, of which only the shape is used."""
        return self.second(network, LATE * self.first(network, x0, cond), cond)

    def first(self, network: Network, like: Tensor, cond: Tensor) -> Tensor:
        return network(torch.zeros_like(like), like.new_zeros(like.shape[0]), cond)

    def second(self, network: Network, x: Tensor, cond: Tensor) -> Tensor:
        return network(x, x.new_full((x.shape[0],), LATE), cond)
