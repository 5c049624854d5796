"""EDM (Karras et al. 2022, arXiv 2206.00364): the teacher of Consistency Policy (Prasad et al. 2024, arXiv 2405.07503).

Noise levels sigma run from 0.02 to 80; a chunk at level sigma is ``x = x1 + sigma eps``.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from l1flow_agents import limits
from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few, Positive
from l1flow_agents.methods.base import Method, Network, masked_mean

SIGMA_MIN, SIGMA_MAX, RHO = 0.02, 80.0, 7.0  # Consistency Policy's code
DATA_STD = 0.5
P = TypeVar("P", float, Tensor)
LOG_SIGMA = -1.2, 1.2  # mean and standard deviation of ln sigma in training


class EDM(Method):
    """The network, preconditioned, predicts the clean chunk; Heun steps follow the probability flow.

    Args:
        n_steps: noise levels visited, 2 ``n_steps`` - 1 network evaluations.
        start_std: of the first chunk, which is taken to be at level 80: that level, or 1 as Consistency Policy's code
            has it, from where all noise leads to nearly the same plan.
    """

    sampler_settings = ("n_steps", "start_std")

    def __init__(self, *, n_steps: Few = 18, start_std: Positive = SIGMA_MAX) -> None:
        super().__init__()
        if not 1 <= n_steps <= limits.FEW:
            raise ConfigError(f"edm: n_steps must lie in 1..{limits.FEW}, got {n_steps}")
        if not start_std > 0:
            raise ConfigError(f"edm: start_std must be positive, got {start_std}")
        self.n_steps, self.start_std = n_steps, start_std

    @property
    def network_evaluations(self) -> int:
        return 2 * self.n_steps - 1

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        sigma = log_normal(len(x1), x1.device)
        x = x1 + sigma[:, None, None] * torch.randn_like(x1)
        error = denoise(network, x, sigma, cond) - x1
        return masked_mean(error.square() * weight(sigma)[:, None, None], valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        x = self.start_std * x0
        levels = karras(self.n_steps)
        for sigma, after in pairwise(levels):
            x = heun(network, x, x.new_full((x.shape[0],), sigma), x.new_full((x.shape[0],), after), cond)
        last = x.new_full((x.shape[0],), levels[-1])
        return euler(network, x, last, torch.zeros_like(last), cond)[0]  # to level 0: of first order, and lands on D


def karras(n: int) -> list[float]:
    """``n`` noise levels from the largest to the smallest (eq. 5)."""
    return [on_the_way(k / max(n - 1, 1)) for k in range(n)]


def on_the_way(part: P) -> P:
    """The noise level at this part of the way from the largest (0) to the smallest (1)."""
    most, least = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    level: P = (most + part * (least - most)) ** RHO
    return level


def log_normal(n: int, device: torch.device) -> Tensor:
    """(n,) training levels."""
    return (LOG_SIGMA[0] + LOG_SIGMA[1] * torch.randn(n, device=device)).exp().clamp(SIGMA_MIN, SIGMA_MAX)


def weight(sigma: Tensor) -> Tensor:
    """Of squared errors, so that every level asks the same of the network."""
    return (sigma**2 + DATA_STD**2) / (sigma * DATA_STD) ** 2


def level(sigma: Tensor) -> Tensor:
    """What the network is told: ln sigma on [0, 1]."""
    least, most = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
    return (sigma.log() - least) / (most - least)


def denoise(network: Network, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
    """E[x1 | x] as the network sees it: ``c_skip x + c_out F(c_in x)``, and x itself at the smallest level."""
    s = sigma[:, None, None]
    away = s - SIGMA_MIN
    scale = (s**2 + DATA_STD**2).rsqrt()
    seen = network(x * scale, level(sigma), cond)
    return DATA_STD**2 / (away**2 + DATA_STD**2) * x + away * DATA_STD * scale * seen


def heun(network: Network, x: Tensor, sigma: Tensor, after: Tensor, cond: Tensor) -> Tensor:
    """One second-order step of the probability flow from ``sigma`` to ``after`` > 0, rows at levels of their own."""
    s, u = sigma[:, None, None], after[:, None, None]
    there, slope = euler(network, x, sigma, after, cond)
    return x + (u - s) * (slope + (there - denoise(network, there, after, cond)) / u) / 2


def euler(network: Network, x: Tensor, sigma: Tensor, after: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    """One first-order step of the probability flow ``dx/dsigma = (x - D(x)) / sigma``, and the slope it took."""
    s, u = sigma[:, None, None], after[:, None, None]
    slope = (x - denoise(network, x, sigma, cond)) / s
    return x + (u - s) * slope, slope
