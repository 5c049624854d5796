"""L1 Flow (Song et al. 2025, arXiv 2511.17898) and the ablations of its three choices."""

from __future__ import annotations

import torch
from torch import Tensor

from l1flow_agents import limits
from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few, Positive
from l1flow_agents.methods.base import Method, Network, drawn, masked_mean

VELOCITY_FLOOR = 0.05  # smallest 1 - t by which a velocity error is divided (published code)
UNIFORM_SHARE = 0.01  # of the "mixed" times (published code)


class L1Flow(Method):
    """Flow matching as sample prediction with an L1 loss, sampled with two network evaluations.

    The path is ``x_t = t x1 + (1 - t) x0`` from noise ``x0`` to data ``x1``. The network predicts the end point,
    ``f(x_t, t, c) ~ x1``, which implies the velocity ``v = (f - x_t) / (1 - t)``.

    Args:
        loss: ``l1`` (the paper) or ``mse``.
        space: ``sample`` compares end points (the paper), ``velocity`` divides their difference by max(1 - t, 0.05).
        time: training times: ``mixed`` is logit-normal(0, 1) with 1 % uniform (the paper), ``uniform``, or ``beta``,
            Beta(1, 1.5).
        sampler: ``l1flow`` integrates one Euler step to ``t_mid`` and predicts from there, ``euler`` integrates
            ``n_steps`` steps from 0 to 1.
        t_mid: where the second prediction is made, in (0, 1).
        n_steps: of ``euler``.
    """

    sampler_settings = ("sampler", "t_mid", "n_steps")
    continues = True

    def __init__(
        self,
        *,
        loss: str = "l1",
        space: str = "sample",
        time: str = "mixed",
        sampler: str = "l1flow",
        t_mid: Positive = 0.5,
        n_steps: Few = 10,
    ) -> None:
        super().__init__()
        for name, value, choices in [
            ("loss", loss, ("l1", "mse")),
            ("space", space, ("sample", "velocity")),
            ("time", time, ("mixed", "uniform", "beta")),
            ("sampler", sampler, ("l1flow", "euler")),
        ]:
            if value not in choices:
                raise ConfigError(f"l1flow: {name} must be one of {choices}, got {value!r}")
        if not 0 < t_mid < 1:
            raise ConfigError(f"l1flow: t_mid must lie in (0, 1), got {t_mid}")
        if not 1 <= n_steps <= limits.FEW:
            raise ConfigError(f"l1flow: n_steps must lie in 1..{limits.FEW}, got {n_steps}")
        self.loss_kind, self.space, self.time, self.sampler = loss, space, time, sampler
        self.t_mid, self.n_steps = t_mid, n_steps

    @property
    def network_evaluations(self) -> int:
        return 2 if self.sampler == "l1flow" else self.n_steps

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        t = self.training_times(len(x1), x1.device)
        x_t = torch.lerp(torch.randn_like(x1), x1, t[:, None, None])
        error = network(x_t, t, cond) - x1
        if self.space == "velocity":
            error = error / (1 - t).clamp(min=VELOCITY_FLOOR)[:, None, None]
        return masked_mean(error.abs() if self.loss_kind == "l1" else error.square(), valid)

    def training_times(self, n: int, device: torch.device) -> Tensor:
        """(n,) times in [0, 1] by the chosen law."""
        if self.time == "beta" and device.type == "cpu":
            return torch.distributions.Beta(1.0, 1.5).sample((n,))
        uniform = torch.rand(n, device=device)
        if self.time == "beta":  # the same law, drawn where no generator of it is
            return 1 - uniform ** (1 / 1.5)
        if self.time == "uniform":
            return uniform
        logit_normal = torch.randn(n, device=device).sigmoid()
        return torch.where(torch.rand(n, device=device) < UNIFORM_SHARE, uniform, logit_normal)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        if self.sampler == "euler":
            return self._euler(network, x0, cond)
        x_mid = torch.lerp(x0, network(x0, x0.new_zeros(x0.shape[0]), cond), self.t_mid)
        return network(x_mid, x0.new_full((x0.shape[0],), self.t_mid), cond)

    def imposing(self, network: Network, known: Tensor, weight: Tensor) -> Network:
        return lambda x, t, cond: drawn(network(x, t, cond), known, weight, t)

    def _euler(self, network: Network, x: Tensor, cond: Tensor) -> Tensor:
        for k in range(self.n_steps):
            # v / n = (f - x) / (1 - k/n) / n = (f - x) / (n - k); the last step lands on f itself
            f = network(x, x.new_full((x.shape[0],), k / self.n_steps), cond)
            x = torch.lerp(x, f, 1 / (self.n_steps - k))
        return x
