"""Sinusoidal features of scalars: the flow time, and low-dimensional observations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

MOST_KEPT = 256  # embeddings; a sampler has 100 times at most
MOST_ROWS = 8  # of a batch; with more of them the arithmetic is what takes time


class TimeEmbedding(nn.Module):
    """Flow time (batch,) in [0, 1] -> (batch, dim): sinusoids of 1000 t, then a two-layer MLP (Transformer, DDPM).

    What has two axes is embedded already and stays as it is (`KeptTimes`).
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        frequencies = 1000 * torch.exp(-math.log(10000) * torch.arange(half) / max(half - 1, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        if t.ndim == 2:
            return t
        phase = t[:, None] * self.frequencies
        embedded: Tensor = self.mlp(torch.cat([phase.sin(), phase.cos()], dim=-1))
        return embedded


class KeptTimes:
    """A network for a sampler on the CPU, which asks for the same few times at every plan: each is embedded once.

    An embedding is kept by the bits of its times, a batch together, so that a plan is to the bit what the network alone
    gives. A network whose attribute ``time`` is no `TimeEmbedding` is called as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network, time = network, getattr(network, "time", None)
        self._time = time if isinstance(time, TimeEmbedding) else None
        self._layers = [] if self._time is None else [self._time.mlp[0], self._time.mlp[-1]]
        self._kept: dict[bytes, Tensor] = {}
        self._made_with: list[int] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptTimes, (self.network,)  # a copy has weights of its own

    def current(self) -> KeptTimes:
        """Itself, asked for at the begin of every plan: what other weights made is forgotten."""
        made_with = [int(torch.is_autocast_enabled("cpu"))]
        for layer in self._layers:
            for weight in layer._parameters.values():  # `parameters()` takes ten times as long
                if weight is not None:
                    made_with += weight.data_ptr(), weight._version
        if made_with != self._made_with or len(self._kept) >= MOST_KEPT:
            self._kept, self._made_with = {}, made_with
        return self

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        if self._time is not None and t.is_cpu and len(t) <= MOST_ROWS:
            times = t.numpy().tobytes()
            embedded = self._kept.get(times)
            t = self._kept[times] = self._time(t) if embedded is None else embedded
        out: Tensor = self.network(x, t, cond)
        return out


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
