"""What a method is: a loss for training and a sampler for acting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``network(x, t, cond)``: x (batch, horizon, action_dim), t (batch,) in [0, 1], cond (batch, cond_dim)."""


class Method(nn.Module, ABC):
    """One way to learn and draw action chunks. Subclasses see tensors and a network, nothing else.

    A module, so that a method may own parameters (a learned query, a second score network); most own none.
    Chunks are normalised and have shape (batch, horizon, action_dim).
    """

    @property
    @abstractmethod
    def network_evaluations(self) -> int:
        """Calls of the network that `sample` makes."""

    @abstractmethod
    def loss(self, network: Network, x1: Tensor, cond: Tensor, valid: Tensor) -> Tensor:
        """Scalar training loss of demonstrated chunks ``x1``; steps with ``valid`` (batch, horizon) 0 do not count."""

    @abstractmethod
    def sample(self, network: Network, x0: Tensor, cond: Tensor) -> Tensor:
        """Chunks drawn from standard normal noise ``x0``; a deterministic function of its arguments."""


def masked_mean(error: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``error`` (batch, horizon, action_dim) over the steps where ``valid`` (batch, horizon) is 1."""
    return (error * valid[..., None]).sum() / (valid.sum().clamp(min=1) * error.shape[-1])
