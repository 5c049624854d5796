"""Flow Matching (Lipman et al. 2023, arXiv 2210.02747) as L1 Flow's baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from l1flow_agents import limits
from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few
from l1flow_agents.methods.base import Method, Network, drawn, masked_mean

LATEST = 0.999  # training times end here; there is nothing left to do at 1 (published code)


class FlowMatching(Method):
    """The network predicts the velocity ``x1 - x0`` of the path ``x_t = t x1 + (1 - t) x0``; Euler steps follow it.

    Training times are ``0.999 (1 - Beta(1.5, 1))``: more of them near the noise, where the mode is decided.

    Args:
        n_steps: Euler steps from 0 to 1.
    """

    sampler_settings = ("n_steps",)
    continues = True

    def __init__(self, *, n_steps: Few = 10) -> None:
        super().__init__()
        if not 1 <= n_steps <= limits.FEW:
            raise ConfigError(f"flow_matching: n_steps must lie in 1..{limits.FEW}, got {n_steps}")
        self.n_steps = n_steps

    @property
    def network_evaluations(self) -> int:
        return self.n_steps

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        t = self.training_times(len(x1), x1.device)
        x0 = torch.randn_like(x1)
        error = network(torch.lerp(x0, x1, t[:, None, None]), t, cond) - (x1 - x0)
        return masked_mean(error.square(), valid)

    def training_times(self, n: int, device: torch.device) -> Tensor:
        """(n,) times in [0, 0.999]."""
        return LATEST * (1 - torch.rand(n, device=device) ** (1 / 1.5))  # u^(1/a) is Beta(a, 1)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        x = x0
        for k in range(self.n_steps):
            x = x + network(x, x.new_full((x.shape[0],), k / self.n_steps), cond) / self.n_steps
        return x

    def imposing(self, network: Network, known: Tensor, weight: Tensor) -> Network:
        def imposed(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            left = (1 - t)[:, None, None]
            return (drawn(x + left * network(x, t, cond), known, weight, t) - x) / left

        return imposed
