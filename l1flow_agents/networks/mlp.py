"""A residual MLP over the flattened chunk: the network for small machines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from l1flow_agents.kinds import Few, Share, Size
from l1flow_agents.networks.embedding import TimeEmbedding


class ChunkMLP(nn.Module):
    """``depth`` residual blocks of ``width``, each modulated (FiLM) by flow time and condition.

    Args:
        horizon, action_dim: shape of a chunk.
        cond_dim: length of the condition vector.
        carry: add the chunk that comes in to what comes out, each number times a gate of the flow time. Methods that
            name the noise (DDPM), or a velocity (Flow Matching), need not carry it through all layers; the idea of
            EDM's skip connection (Karras et al. 2022, eq. 7), learned.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        cond_dim: int,
        *,
        width: Size = 512,
        depth: Few = 3,
        expansion: Few = 2,
        dropout: Share = 0.0,
        time_dim: Size = 128,
        carry: bool = False,
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(time_dim)
        self.cond = nn.Sequential(nn.Linear(cond_dim + time_dim, width), nn.Mish())
        self.enter = nn.Linear(horizon * action_dim + cond_dim, width)
        self.blocks = nn.ModuleList(_Block(width, expansion, dropout) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, horizon * action_dim))
        self.gate: nn.Linear | None = None
        if carry:
            self.gate = nn.Linear(time_dim, horizon * action_dim)
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (batch, horizon, action_dim), t (batch,), cond (batch, cond_dim) -> (batch, horizon, action_dim)."""
        time = self.time(t)
        modulation = self.cond(torch.cat([cond, time], dim=-1))
        h = self.enter(torch.cat([x.flatten(1), cond], dim=-1))
        for block in self.blocks:
            h = block(h, modulation)
        out: Tensor = self.exit(h)
        if self.gate is not None:
            out = torch.addcmul(out, self.gate(time), x.flatten(1))
        return out.view_as(x)


class _Block(nn.Module):
    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.Mish(), nn.Dropout(dropout), nn.Linear(expansion * width, width)
        )

    def forward(self, h: Tensor, modulation: Tensor) -> Tensor:
        scale, shift = self.film(modulation).chunk(2, dim=-1)
        change: Tensor = self.mlp(torch.addcmul(shift, self.norm(h), 1 + scale))
        return h + change
