"""What a method tells its network beside flow time and condition, in columns of the condition that only it uses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WIDTH = 16  # columns for one number


def told(number: Tensor) -> Tensor:
    """A number in [0, 1] a row, (batch,) -> (batch, 16): sine and cosine of 2^k pi times it, k = 0..7."""
    phase = number[:, None] * (math.pi * 2.0 ** torch.arange(WIDTH // 2, device=number.device))
    return torch.cat([phase.sin(), phase.cos()], dim=-1)
