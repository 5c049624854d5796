"""The weights that act: a moving average of those that learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of parameters and buffers, in place in ``average``."""

    def __init__(self, model: nn.Module, average: nn.Module, power: float) -> None:
        self.power = power
        self._live: list[Tensor] = list(model.parameters())
        self._averaged: list[Tensor] = list(average.parameters())
        self._live_buffers, self._averaged_buffers = list(model.buffers()), list(average.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After gradient step ``step``, counted from 0."""
        decay = min(1 - (1 + step) ** -self.power, 0.9999)
        torch._foreach_lerp_(self._averaged, self._live, 1 - decay)
        if self._live_buffers:  # a running statistic is already an average
            torch._foreach_copy_(self._averaged_buffers, self._live_buffers)
