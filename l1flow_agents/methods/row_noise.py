"""Noise that a sampler draws on its way: a row's own, whatever the batch around it and the global generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # splitmix64's, as signed numbers


class RowNoise:
    """Standard normal noise for the rows of ``x0`` (batch, horizon, action_dim), seeded by each row's own bits.

    On the CPU a generator a row draws it. Elsewhere, where that would wait for the CPU, it is computed from a counter:
    other noise of the same law.
    """

    def __init__(self, x0: Tensor) -> None:
        self.x0, self.drawn = x0, 0
        self.keys = digests(x0.detach())
        on_cpu = x0.device.type == "cpu"
        seeds = self.keys.tolist() if on_cpu else []
        self.streams = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def draw(self, n: int = 1) -> Tensor:
        """(n, *x0.shape), new at every call."""
        shape = (n, *self.x0.shape[1:])
        if self.x0.device.type == "cpu":
            drawn = [torch.randn(shape, generator=stream) for stream in self.streams]
            return torch.stack(drawn, dim=1).to(self.x0)
        flat = counted(self.keys, self.drawn, math.prod(shape))
        self.drawn += math.prod(shape)
        return flat.view(-1, *shape).transpose(0, 1).to(self.x0.dtype)


def digests(x0: Tensor) -> Tensor:
    """(batch,) a whole number of 64 bits for every row; sums of integers are exact in any order."""
    bits = x0.float().flatten(1).contiguous().view(torch.int32).long()
    odd = 2 * torch.arange(bits.shape[1], device=x0.device) + 1
    return (bits * odd * 0x9E3779B1).sum(dim=1)


def counted(keys: Tensor, first: int, n: int) -> Tensor:
    """(batch, n) standard normal numbers ``first``, ... of each key's sequence (splitmix64, Box and Muller)."""
    count = torch.arange(first + 1, first + n + 1, device=keys.device)
    bits = mixed(mixed(keys)[:, None] + count * GOLDEN)
    radius = ((shifted(bits, 40) + 1) * 2.0**-24).log().mul(-2).sqrt()
    turn = (shifted(bits, 8) & 0xFFFFFF) * 2.0**-24
    return radius * (2 * math.pi * turn).cos()


def mixed(z: Tensor) -> Tensor:
    """splitmix64's output for the state ``z``, int64 that wraps around."""
    z = (z ^ shifted(z, 30)) * FIRST
    z = (z ^ shifted(z, 27)) * SECOND
    return z ^ shifted(z, 31)


def shifted(z: Tensor, by: int) -> Tensor:
    """To the right, zeros from the left."""
    right: Tensor = (z >> by) & (2 ** (64 - by) - 1)
    return right
