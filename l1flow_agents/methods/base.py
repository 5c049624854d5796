"""What a method is: a loss for training and a sampler for acting."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from l1flow_agents.errors import ConfigError
from l1flow_agents.methods.row_noise import RowNoise
from l1flow_agents.names import check_names

__all__ = ["Method", "Network", "RowNoise", "check_sampler_only", "masked_mean"]

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``network(x, t, cond)``: x (batch, horizon, action_dim), t (batch,) in [0, 1], cond (batch, cond_dim)."""


class Method(nn.Module, ABC):
    """One way to learn and draw action chunks. Subclasses see tensors and a network, nothing else.

    On a GPU a step is replayed as a graph: what `loss` and `sample` compute must not depend on a value that the host
    has to wait for (no ``if`` on a tensor, no ``item``, no tensor moved from the CPU); a loss that does is still
    trained, a kernel at a time.

    A module, so that a method may own parameters (a learned query, a second score network); most own none.
    Chunks are normalised and have shape (batch, horizon, action_dim).

    Attributes:
        teachers: names of the methods that this one can be distilled from; empty: it learns from data alone.
        helper: a network that only training needs; it learns ``helper_rate`` times as fast, and `save` leaves it out.
        told_dim: columns that it puts behind the condition; the network is made for that many more.
        betas: of Adam, where the training does not say otherwise.
        dropout: of a student's network, where that has such a setting; None: its teacher's.
        sampler_settings: names of the settings that only `sample` reads; trained weights may be used under others.
    """

    teachers: ClassVar[tuple[str, ...]] = ()
    helper: nn.Module | None
    helper_rate: ClassVar[float] = 1.0
    told_dim: ClassVar[int] = 0
    betas: ClassVar[tuple[float, float]] = (0.95, 0.999)  # Diffusion Policy's
    dropout: ClassVar[float | None] = None
    sampler_settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.helper = None

    def follow(self, teacher: Method, network: nn.Module) -> None:
        """Prepare to be distilled from ``teacher`` and its trained ``network``, of which this one's is a copy.

        Neither becomes a part of this module: they are not trained and not saved.
        """
        raise ConfigError(f"{type(self).__name__} learns from data, not from a teacher")

    def fit_to(self, horizon: int, action_dim: int, cond_dim: int) -> None:
        """Make the parameters whose shapes follow from a chunk's or a condition's; most methods have none."""

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


def check_sampler_only(what: str, method: type[Method], trained: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ConfigError if weights trained under the settings ``trained`` must not be used under ``wanted``."""
    defaults = {name: one.default for name, one in inspect.signature(method).parameters.items()}
    check_names(wanted, defaults, what)
    trained = {**defaults, **trained}
    for name, value in wanted.items():
        if value != trained[name] and name not in method.sampler_settings:
            raise ConfigError(
                f"{what}: {name} is {trained[name]!r} in the training that made the weights; expected some of "
                f"{list(method.sampler_settings)}, which only the sampler reads"
            )
