"""Diffusion Policy's method: DDPM (Ho et al. 2020, arXiv 2006.11239) and DDIM (Song et al. 2021, arXiv 2010.02502).

Settings of Diffusion Policy (Chi et al. 2023, arXiv 2303.04137), whose schedulers are those of diffusers. The
arithmetic is written out here because diffusers' takes longer for a step than a small network does, which would make
a comparison of speed a comparison of schedulers; tests/test_baselines.py holds it against diffusers step by step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few
from l1flow_agents.methods.base import Method, Network, RowNoise, drawn, masked_mean

N_LEVELS = 100  # of noise
LARGEST_BETA = 0.999


class DDPM(Method):
    """The network predicts the noise in ``x_k = sqrt(a_k) x1 + sqrt(1 - a_k) eps``; it is told level k as k / 100.

    Squared-cosine schedule of a_k (Nichol & Dhariwal 2021), predicted chunks clipped to [-1, 1].

    Args:
        sampler: ``ddpm`` visits all 100 levels and adds noise at each (variance of the posterior), ``ddim`` visits
            ``n_steps`` of them and adds none.
        n_steps: of ``ddim``.
    """

    sampler_settings = ("sampler", "n_steps")
    continues = True
    kept: Tensor

    def __init__(self, *, sampler: str = "ddpm", n_steps: Few = 10) -> None:
        super().__init__()
        if sampler not in ("ddpm", "ddim"):
            raise ConfigError(f"ddpm: sampler must be one of ('ddpm', 'ddim'), got {sampler!r}")
        if not 1 <= n_steps <= N_LEVELS:
            raise ConfigError(f"ddpm: n_steps must lie in 1..{N_LEVELS}, got {n_steps}")
        self.sampler, self.n_steps = sampler, N_LEVELS if sampler == "ddpm" else n_steps
        self.register_buffer("kept", squared_cosine(), persistent=False)  # a_k, share of the data's variance

    @property
    def network_evaluations(self) -> int:
        return self.n_steps

    def add_noise(self, x1: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """x_k of every row, at ``level`` (batch,)."""
        kept = self.kept[level][:, None, None]
        return kept.sqrt() * x1 + (1 - kept).sqrt() * noise

    def clean(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """The x1 of every row that predicted ``noise`` implies, not clipped."""
        kept = self.kept[level][:, None, None]
        return (x - (1 - kept).sqrt() * noise) / kept.sqrt()

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        level = torch.randint(N_LEVELS, (len(x1),), device=x1.device)
        noise = torch.randn_like(x1)
        error = network(self.add_noise(x1, noise, level), level / N_LEVELS, cond) - noise
        return masked_mean(error.square(), valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        stride, kept, x = N_LEVELS // self.n_steps, KEPT, x0
        fresh = noises(x0) if self.sampler == "ddpm" else None
        for level in range((self.n_steps - 1) * stride, -1, -stride):
            now, before = kept[level], kept[level - stride] if level else 1.0
            noise = network(x, x.new_full((x.shape[0],), level / N_LEVELS), cond)
            x1 = ((x - math.sqrt(1 - now) * noise) / math.sqrt(now)).clamp_(-1, 1)
            if fresh is None:  # eq. 12 with sigma = 0
                x = math.sqrt(before) * x1 + math.sqrt(1 - before) * noise
            else:  # eq. 7: mean of the posterior, then its noise
                beta = 1 - now / before
                x = math.sqrt(before) * beta / (1 - now) * x1 + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x
                x = x + math.sqrt(beta * (1 - before) / (1 - now)) * fresh[level]
        return x

    def imposing(self, network: Network, known: Tensor, weight: Tensor) -> Network:
        def imposed(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            level = (t * N_LEVELS).round().long()
            x1 = self.clean(x, network(x, t, cond), level).clamp(-1, 1)
            kept = self.kept[level][:, None, None]
            return (x - kept.sqrt() * drawn(x1, known, weight, 1 - t)) / (1 - kept).sqrt()

        return imposed


def squared_cosine() -> Tensor:
    """a_k for k = 0..99, the largest step limited."""

    def cosine(part: float) -> float:
        return math.cos((part + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [1 - cosine((k + 1) / N_LEVELS) / cosine(k / N_LEVELS) for k in range(N_LEVELS)]
    return (1 - torch.tensor(betas, dtype=torch.double).clamp(max=LARGEST_BETA)).cumprod(0).float()


def noises(x0: Tensor) -> Tensor:
    """Noise for every level, (100, *x0.shape)."""
    return RowNoise(x0).draw(N_LEVELS)


KEPT: tuple[float, ...] = tuple(squared_cosine().tolist())  # for the sampler, which need not ask the device for them
