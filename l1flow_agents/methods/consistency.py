"""Consistency Policy (Prasad et al. 2024, arXiv 2405.07503): a consistency trajectory model of an EDM teacher."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few, NotNegative, Positive
from l1flow_agents.methods.base import Method, Network, RowNoise
from l1flow_agents.methods.edm import EDM, SIGMA_MAX, denoise, heun, karras, level, log_normal, weight

N_BINS = 80  # noise levels between which the student learns to jump
STOP_DIM = 16  # features of the stop level
NO_NOISE = 1e-3  # level 0, for features of its logarithm
HUBER = 0.00054  # c of the loss, for an error's root mean square (Song & Dhariwal 2023)


class Consistency(Method):
    """``G(x, t, s)`` jumps along the teacher's probability flow from level t to any lower level s.

    ``G = s/t x + (1 - s/t) g(x, t, s)`` with g the preconditioned network, which is also told s. It learns that a jump
    from t and a jump from where one Heun step of the teacher leads agree (CTM with adjacent levels), and that g at
    s = t denoises. It starts as a copy of its teacher, deaf to s.

    Args:
        n_steps: jumps at sampling; each but the first begins by adding noise again.
        start_std: of the first chunk, which is taken to be at level 80: 1 as published, 80 for all that the teacher
            can do.
        dsm_weight: of the denoising term beside the consistency term.
    """

    teachers = ("edm",)
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

    def fit_to(self, horizon: int, action_dim: int, cond_dim: int) -> None:
        self.stop = nn.Linear(
            STOP_DIM, cond_dim
        )  # added to the condition; nothing yet, so that it starts as its teacher
        nn.init.zeros_(self.stop.weight)
        nn.init.zeros_(self.stop.bias)

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
        zero = torch.zeros_like(sigma)
        x = x1 + sigma[:, None, None] * torch.randn_like(x1)
        with torch.no_grad():
            nearer = heun(self._teacher[0], x, sigma, adjacent, cond)
            expected = self.jump(network, self.jump(network, nearer, adjacent, stop, cond), stop, zero, cond)
        # both are compared as clean chunks; the jump that makes them so is not trained by it
        jumped = self.jump(network, x, sigma, stop, cond)
        agreement = pseudo_huber(self.jump(frozen(network), jumped, stop, zero, cond) - expected, valid)

        noisy = torch.where(torch.rand(n, device=x1.device) < 0.5, log_normal(n, x1.device), sigma)
        x = x1 + noisy[:, None, None] * torch.randn_like(x1)
        error = (self.clean(network, x, noisy, noisy, cond) - x1) * weight(noisy).sqrt()[:, None, None]
        return agreement + self.dsm_weight * pseudo_huber(error, valid)

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        x, sigma = self.start_std * x0, SIGMA_MAX
        levels, noise = karras(N_BINS), RowNoise(x0) if self.n_steps > 1 else None
        for k in range(self.n_steps):
            if noise is not None and k:
                sigma = levels[N_BINS * k // self.n_steps]
                x = x + sigma * noise.draw()[0]
            here = x.new_full((x.shape[0],), sigma)
            x = self.jump(network, x, here, torch.zeros_like(here), cond)
        return x

    def jump(self, network: Network, x: Tensor, sigma: Tensor, stop: Tensor, cond: Tensor) -> Tensor:
        """G from levels ``sigma`` to ``stop``, both (batch,); at 0 the chunk is clean."""
        return torch.lerp(self.clean(network, x, sigma, stop, cond), x, (stop / sigma)[:, None, None])

    def clean(self, network: Network, x: Tensor, sigma: Tensor, stop: Tensor, cond: Tensor) -> Tensor:
        """g: the clean chunk that lies in the direction of the jump."""
        frequencies = math.pi * 2.0 ** torch.arange(STOP_DIM // 2, device=x.device)
        phase = level(stop.clamp(min=NO_NOISE))[:, None] * frequencies
        told = self.stop(torch.cat([phase.sin(), phase.cos()], dim=-1))
        return denoise(network, x, sigma, cond + told)


def frozen(network: Network) -> Network:
    """The network with its weights as constants; a gradient still flows to what it is given."""
    if not isinstance(network, nn.Module):
        return network
    weights = {name: tensor.detach() for name, tensor in network.named_parameters()}
    return lambda x, t, cond: functional_call(network, weights, (x, t, cond))


def pseudo_huber(error: Tensor, valid: Tensor) -> Tensor:
    """Mean over chunks of ``sqrt(|error|^2 + c^2) - c``, |.| the root mean square over the steps that count."""
    size = (valid.sum(dim=1).clamp(min=1) * error.shape[-1]).to(error)
    square = (error.square() * valid[..., None]).sum(dim=(1, 2)) / size
    return ((square + HUBER**2).sqrt() - HUBER).mean()
