"""Action prefixes: first rows of a chunk that are settled before it is planned.

Given to the network as they are, in training for random lengths, they need no guidance when plans are joined: real-time
chunking by training-time conditioning (arXiv 2512.05964).
"""

from __future__ import annotations

import torch
from torch import Tensor

from l1flow_agents.methods.base import Network


def random_rows(x1: Tensor, past: int, longest: int) -> Tensor:
    """(batch, horizon), true in 0..``longest`` rows from ``past`` on, as many for each chunk as a draw says."""
    lengths = torch.randint(longest + 1, (len(x1), 1), device=x1.device)
    return between(x1, past, past + lengths)


def settled_rows(weight: Tensor, past: int, longest: int) -> Tensor:
    """(batch, horizon), true in the rows of ``weight`` 1 that a network can have learned to be given."""
    return (weight == 1) & between(weight, past, past + longest)


def given(network: Network, known: Tensor, rows: Tensor) -> Network:
    """The network, which sees ``known`` in place of what is noisy in those rows."""
    return lambda x, t, cond: network(torch.where(rows[..., None], known, x), t, cond)


def between(of: Tensor, first: int, end: int | Tensor) -> Tensor:
    """(batch or 1, horizon), true from row ``first`` to before ``end``."""
    row = torch.arange(of.shape[1], device=of.device)[None]
    return (row >= first) & (row < end)
