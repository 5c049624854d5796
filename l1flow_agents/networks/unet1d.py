"""Conditional 1-D U-Net over the time axis of a chunk (Janner et al. 2022; Chi et al. 2023, Diffusion Policy)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Levels, OddSize, Share, Size
from l1flow_agents.networks.embedding import TimeEmbedding


class UNet1D(nn.Module):
    """Down- and upsampling over ``horizon`` with skip connections; FiLM by flow time and condition in every block.

    Args:
        horizon, action_dim: shape of a chunk; horizon divisible by 2 ** (len(dims) - 1).
        cond_dim: length of the condition vector.
        dims: channels of each level. (256, 512, 1024) is the published low-dimensional size,
            (512, 1024, 2048) the published image size, (32, 64) a tiny one.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        cond_dim: int,
        *,
        dims: Levels = (64, 128, 256),
        kernel_size: OddSize = 5,
        n_groups: Size = 8,
        dropout: Share = 0.0,
        time_dim: Size = 128,
    ) -> None:
        super().__init__()
        factor = 2 ** (len(dims) - 1)
        if horizon % factor:
            raise ConfigError(f"horizon must be divisible by {factor} for a U-Net of {len(dims)} levels, got {horizon}")
        if any(dim % n_groups for dim in dims):
            raise ConfigError(f"every entry of dims must be divisible by n_groups = {n_groups}, got {list(dims)}")
        self.time = TimeEmbedding(time_dim)

        def level(c_in: int, c_out: int, resample: nn.Module) -> _Level:
            return _Level(c_in, c_out, cond_dim + time_dim, kernel_size, n_groups, dropout, resample)

        self.down = nn.ModuleList()
        c_in = action_dim
        for k, dim in enumerate(dims):
            lowest = k == len(dims) - 1
            halve = nn.Identity() if lowest else nn.Conv1d(dim, dim, 3, stride=2, padding=1)
            self.down.append(level(c_in, dim, halve))
            c_in = dim
        self.middle = level(c_in, c_in, nn.Identity())
        self.up = nn.ModuleList()
        for dim in reversed(dims[:-1]):
            double = nn.ConvTranspose1d(c_in, c_in, 4, stride=2, padding=1)
            self.up.append(level(c_in + dim, dim, double))
            c_in = dim
        self.exit = nn.Sequential(_conv_block(c_in, c_in, kernel_size, n_groups), nn.Conv1d(c_in, action_dim, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (batch, horizon, action_dim), t (batch,), cond (batch, cond_dim) -> (batch, horizon, action_dim)."""
        c = torch.cat([cond, self.time(t)], dim=-1)
        h, skips = x.transpose(1, 2), []
        for level in self.down:
            h = level(h, c)
            skips.append(h)
            h = level.resample(h)  # type: ignore[operator]
        h = self.middle(h, c)
        skips.pop()  # the lowest level feeds the middle directly
        for level in self.up:
            h = torch.cat([level.resample(h), skips.pop()], dim=1)  # type: ignore[operator]
            h = level(h, c)
        out: Tensor = self.exit(h)
        return out.transpose(1, 2)


class _Level(nn.Module):
    """Two blocks at one resolution, and the way to the next."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        cond_dim: int,
        kernel_size: int,
        n_groups: int,
        dropout: float,
        resample: nn.Module,
    ) -> None:
        super().__init__()
        self.first = _Block(c_in, c_out, cond_dim, kernel_size, n_groups, dropout)
        self.second = _Block(c_out, c_out, cond_dim, kernel_size, n_groups, dropout)
        self.resample = resample

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(h, c), c)
        return out


def _conv_block(c_in: int, c_out: int, kernel_size: int, n_groups: int) -> nn.Sequential:
    conv = nn.Conv1d(c_in, c_out, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(conv, nn.GroupNorm(n_groups, c_out), nn.Mish())


class _Block(nn.Module):
    """Convolution, FiLM scale and shift from the condition, dropout, convolution, residual."""

    def __init__(self, c_in: int, c_out: int, cond_dim: int, kernel_size: int, n_groups: int, dropout: float) -> None:
        super().__init__()
        self.first = _conv_block(c_in, c_out, kernel_size, n_groups)
        self.second = _conv_block(c_out, c_out, kernel_size, n_groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(cond_dim, 2 * c_out))
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.film(c)[..., None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.first(x), 1 + scale)
        out: Tensor = self.second(self.dropout(h)) + self.residual(x)
        return out
