"""OneDP (Wang et al. 2024, arXiv 2410.21257): a diffusion policy distilled into one pass by KL along the chain."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from l1flow_agents.errors import ConfigError
from l1flow_agents.methods.base import Method, Network, masked_mean
from l1flow_agents.methods.ddpm import DDPM, N_LEVELS

GENERATOR_LEVEL = 65  # what the generator, a copy of the teacher, is told
LEVELS = 2, 95  # at which the two are compared, both ends included


class OneDP(Method):
    """A copy of a DDPM network becomes a generator: one pass from noise to chunk.

    It descends ``KL(generated || teacher)``, both noised to a random level k: the gradient for a noised chunk is
    ``w(k) (score_generator - score_teacher)`` with w = sigma_k^2.

    Args:
        stochastic: True: the generator maps noise to chunks, and a helper network, another copy, learns the score of
            what it generates. False: it maps zero to one chunk, whose noised score is known in closed form.
    """

    teachers = ("ddpm",)
    helper_rate = 20.0  # 2e-5 and 1e-6 in the paper
    betas = 0.0, 0.999

    def __init__(self, *, stochastic: bool = True) -> None:
        super().__init__()
        self.stochastic = bool(stochastic)
        self.chain = DDPM()
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple it is no part of this module

    def follow(self, teacher: Method, network: nn.Module) -> None:
        self._teacher = (copy.deepcopy(network).eval().requires_grad_(False),)
        self.helper = copy.deepcopy(network) if self.stochastic else None

    @property
    def network_evaluations(self) -> int:
        return 1

    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        noise = x0 if self.stochastic else torch.zeros_like(x0)
        level = torch.full((x0.shape[0],), GENERATOR_LEVEL, device=x0.device)
        return self.chain.clean(noise, network(noise, level / N_LEVELS, cond), level)

    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        """How far the two scores are apart (its gradient is the KL's), and the helper's error; no use of ``x1``."""
        if not self._teacher:
            raise ConfigError("onedp learns from a teacher: `l1flow distill`, or ChunkAgent.from_teacher")
        generated = self.sample(network, torch.randn_like(x1), cond)
        level, noise, noised = self.noised(generated, *LEVELS)
        told, cond = level / N_LEVELS, cond.detach()
        with torch.no_grad():
            own = noise if self.helper is None else self.helper(noised, told, cond)
            # w (score_own - score_teacher) with score = -noise / sigma
            gradient = (1 - self.chain.kept[level]).sqrt()[:, None, None] * (self._teacher[0](noised, told, cond) - own)
        descent = masked_mean(noised * gradient, valid)
        loss = descent - descent.detach() + masked_mean(gradient.abs(), valid)
        if self.helper is not None:
            level, noise, noised = self.noised(generated.detach(), 0, N_LEVELS - 1)
            error = self.helper(noised, level / N_LEVELS, cond) - noise
            loss = loss + masked_mean(error.square(), valid)
        return loss

    def noised(self, chunk: Tensor, lowest: int, highest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Levels (batch,) drawn evenly, noise, and the chunk with it."""
        level = torch.randint(lowest, highest + 1, (len(chunk),), device=chunk.device)
        noise = torch.randn_like(chunk)
        return level, noise, self.chain.add_noise(chunk, noise, level)
