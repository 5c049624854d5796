"""A transformer over the steps of a chunk, conditioned by adaptive layer norm (DiT, Peebles and Xie 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l1flow_agents.errors import ConfigError
from l1flow_agents.kinds import Few, Share, Size
from l1flow_agents.networks.embedding import TimeEmbedding


class ChunkTransformer(nn.Module):
    """One token a step; every block is shifted, scaled and gated by flow time and condition.

    Args:
        horizon, action_dim: shape of a chunk.
        cond_dim: length of the condition vector.
        width: of a token, divisible by ``n_heads``.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        cond_dim: int,
        *,
        width: Size = 192,
        depth: Few = 6,
        n_heads: Few = 4,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        if n_heads < 1 or width % n_heads:
            raise ConfigError(f"width must be divisible by n_heads = {n_heads}, got {width}")
        self.time = TimeEmbedding(width)
        self.cond = nn.Sequential(nn.Linear(cond_dim + width, width), nn.Mish())
        self.enter = nn.Linear(action_dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.blocks = nn.ModuleList(_Block(width, n_heads, dropout) for _ in range(depth))
        self.exit = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, action_dim))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """x (batch, horizon, action_dim), t (batch,), cond (batch, cond_dim) -> (batch, horizon, action_dim)."""
        c = self.cond(torch.cat([cond, self.time(t)], dim=-1))
        h = self.enter(x) + self.position
        for block in self.blocks:
            h = block(h, c)
        out: Tensor = self.exit(h)
        return out


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)  # a block starts as the identity (DiT's adaLN-Zero)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm(h) * (1 + scale1) + shift1).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        h = torch.add(h, gate1 * self.out(attended.transpose(1, 2).flatten(-2)))
        return torch.add(h, gate2 * self.mlp(self.norm(h) * (1 + scale2) + shift2))
