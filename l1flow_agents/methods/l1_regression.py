"""L1 regression: one chunk for one observation, whatever the modes. L1 Flow's baseline for speed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l1flow_agents.methods.base import Method, Network, masked_mean


class L1Regression(Method):
    """A learned query through the same network at t = 1, one pass, mean absolute error (as in L1 Flow's code)."""

    query: Tensor

    def fit_to(self, horizon: int, action_dim: int, cond_dim: int) -> None:
        self.query = nn.Parameter(torch.randn(horizon, action_dim))

    @property
    def network_evaluations(self) -> int:
        return 1

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        return masked_mean((self.sample(network, x1, cond) - x1).abs(), valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        """The same for every noise ``x0``, of which only the shape is used."""
        return network(self.query.expand_as(x0), x0.new_ones(x0.shape[0]), cond)
