"""Consistency Policy (Prasad et al. 2024, arXiv 2405.07503): a consistency trajectory model of an EDM teacher."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few, NotNegative, Positive
from l1flow_agents.methods.base import Method, Network, RowNoise, masked_mean
from l1flow_agents.methods.edm import (
    EDM,
    SIGMA_MAX,
    SIGMA_MIN,
    denoise,
    heun,
    karras,
    level,
    log_normal,
    on_the_way,
    weight,
)
from l1flow_agents.methods.told import WIDTH, told

N_BINS = 80  # noise levels between which the student learns to jump
LARGEST_PART = 0.7  # of the way from the largest level to the smallest, for half of the denoised chunks
HUBER = 5.4e-4  # of the loss, for a chunk of one number (Song & Dhariwal 2023)


class Consistency(Method):
    """``G(x, t, s)`` jumps along the teacher's probability flow from level t to any lower level s.

    ``G = s/t x + (1 - s/t) g(x, t, s)`` with g the preconditioned network, which is also told s. It learns that a jump
    from t and a jump from where one Heun step of the teacher leads agree (CTM with adjacent levels), and that the jump
    to the smallest level, the one that acts, denoises. It starts as a copy of its teacher, deaf to s.

    Args:
        n_steps: jumps at sampling; each but the first begins by adding noise again.
        start_std: of the first chunk, which is taken to be at level 80: 1 as published, 80 for all that the teacher
            can do.
        dsm_weight: of the denoising term beside the consistency term.
    """

    teachers = ("edm",)
    told_dim = WIDTH
    dropout = 0.2
    levels: Tensor
    sampler_settings = ("n_steps", "start_std")

    def __init__(self, *, n_steps: Few = 1, start_std: Positive = 1.0, dsm_weight: NotNegative = 1.0) -> None:
        super().__init__()
        if not 1 <= n_steps <= N_BINS:
            raise ConfigError(f"consistency: n_steps must lie in 1..{N_BINS}, got {n_steps}")
        if not start_std > 0:
            raise ConfigError(f"consistency: start_std must be positive, got {start_std}")
        self.n_steps, self.start_std, self.dsm_weight = n_steps, start_std, dsm_weight
        self.register_buffer("levels", torch.tensor(karras(N_BINS)[::-1]), persistent=False)  # from the smallest
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple it is no part of this module

    def follow(self, teacher: Method, network: nn.Module) -> None:
        assert isinstance(teacher, EDM)
        self._teacher = (copy.deepcopy(network).eval().requires_grad_(False),)

    @property
    def network_evaluations(self) -> int:
        return self.n_steps

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        if not self._teacher:
            raise ConfigError("consistency learns from a teacher: `l1flow distill`, or ChunkAgent.from_teacher")
        n, levels = len(x1), self.levels
        upper = torch.randint(1, N_BINS, (n,), device=x1.device)
        sigma, adjacent = levels[upper], levels[upper - 1]
        stop = levels[(torch.rand(n, device=x1.device) * upper).long()]  # any level up to the adjacent one
        last = torch.full_like(sigma, SIGMA_MIN)
        x = x1 + sigma[:, None, None] * torch.randn_like(x1)
        with torch.no_grad():
            nearer = heun(self._teacher[0], x, sigma, adjacent, cond)
            there = jump(network, nearer, adjacent, stop, cond)
            expected = jump(network, there, stop, last, cond).clamp(-1, 1)
        # both are compared where they end; the second jump, which leads there, is not trained by it
        jumped = jump(network, x, sigma, stop, cond)
        agreement = pseudo_huber(jump(frozen(network), jumped, stop, last, cond) - expected, valid)

        noisy = torch.where(torch.rand(n, device=x1.device) < 0.5, log_normal(n, x1.device), high(n, x1.device))
        x = x1 + noisy[:, None, None] * torch.randn_like(x1)
        denoised = pseudo_huber(jump(network, x, noisy, last, cond) - x1, valid, weight(noisy))
        return agreement + self.dsm_weight * denoised

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        x, sigma = self.start_std * x0, SIGMA_MAX
        levels, noise = karras(N_BINS), RowNoise(x0) if self.n_steps > 1 else None
        for k in range(self.n_steps):
            if noise is not None and k:
                sigma = levels[N_BINS * k // self.n_steps]
                x = x + sigma * noise.draw()[0]
            here = x.new_full((x.shape[0],), sigma)
            x = jump(network, x, here, torch.full_like(here, SIGMA_MIN), cond).clamp(-1, 1)
        return x


def jump(network: Network, x: Tensor, sigma: Tensor, stop: Tensor, cond: Tensor) -> Tensor:
    """G from levels ``sigma`` to ``stop``, both (batch,)."""
    clean = denoise(network, x, sigma, torch.cat([cond, told(level(stop))], dim=-1))
    return torch.lerp(clean, x, (stop / sigma)[:, None, None])


def high(n: int, device: torch.device) -> Tensor:
    """(n,) of the larger noise levels, even on the scale of `karras`."""
    return on_the_way(LARGEST_PART * torch.rand(n, device=device))


def frozen(network: Network) -> Network:
    """The network with its weights as constants; a gradient still flows to what it is given."""
    if not isinstance(network, nn.Module):
        return network
    weights = {name: tensor.detach() for name, tensor in network.named_parameters()}
    return lambda x, t, cond: functional_call(network, weights, (x, t, cond))


def pseudo_huber(error: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of ``sqrt(e^4 + delta^2) - delta``, about squared, over the steps that count; ``weight`` (batch,)."""
    delta = HUBER * math.sqrt(error[0].numel())
    size = (error.square().square() + delta**2).sqrt() - delta
    return masked_mean(size if weight is None else size * weight[:, None, None], valid)
