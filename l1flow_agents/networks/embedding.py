"""Sinusoidal features of scalars: the flow time, and low-dimensional observations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Flow time (batch,) in [0, 1] -> (batch, dim): sinusoids of 1000 t, then a two-layer MLP (Transformer, DDPM)."""

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        frequencies = 1000 * torch.exp(-math.log(10000) * torch.arange(half) / max(half - 1, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        phase = t[:, None] * self.frequencies
        embedded: Tensor = self.mlp(torch.cat([phase.sin(), phase.cos()], dim=-1))
        return embedded


class FourierFeatures(nn.Module):
    """x in about [-1, 1], (..., dim) -> (..., dim * (1 + 2 n)): x with sin and cos of 2^k pi x, k = 0..n-1.

    Lets a small network resolve fine detail (Tancik et al. 2020), and joins the two ends of an angle that is
    normalised from a full turn, where x itself jumps.
    """

    scales: Tensor

    def __init__(self, n_frequencies: int) -> None:
        super().__init__()
        self.n_frequencies = n_frequencies
        self.register_buffer("scales", math.pi * 2.0 ** torch.arange(n_frequencies), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.n_frequencies == 0:
            return x
        phase = (x[..., None] * self.scales).flatten(-2)
        return torch.cat([x, phase.sin(), phase.cos()], dim=-1)

    def out_dim(self, dim: int) -> int:
        return dim * (1 + 2 * self.n_frequencies)
