"""A demonstration: one episode, with all it takes to learn from it and to replay it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from l1flow_agents.errors import DatasetError

TYPES = {"actions": np.float64, "states": np.float64, "rewards": np.float64, "dones": np.int64}  # robomimic's


@dataclass(frozen=True, eq=False)
class Demonstration:
    """T steps of an episode, checked, in the types of robomimic's files.

    Raises:
        DatasetError: lengths disagree, or a value is not a finite number.
    """

    observations: Mapping[str, Any]
    """(T, *shape) a key, before each action; images uint8 (T, H, W, C)."""
    actions: np.ndarray
    """(T, action_dim)."""
    states: np.ndarray
    """(T, S), the flattened simulator state before each action."""
    rewards: np.ndarray
    """(T,) after each action."""
    dones: np.ndarray
    """(T,) after each action."""
    model_file: str | None = None
    """The episode's MJCF XML."""
    next_observations: Mapping[str, Any] = field(default_factory=dict)
    """As ``observations``, after each action; robomimic's trainer reads them by default."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further arrays of any length in nested mappings, such as MimicGen's ``datagen_info``."""
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    """Such as the seed it came from."""

    def __post_init__(self) -> None:
        for name, kind in TYPES.items():
            try:
                object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
            except (TypeError, ValueError) as error:
                raise DatasetError(f"demonstration: {name} are not numbers ({error})") from None
        if self.actions.ndim != 2 or not len(self):
            raise DatasetError(f"demonstration: expected actions (n_steps, action_dim), found {self.actions.shape}")
        for key, array in self.steps().items():
            if array.shape[:1] != (len(self),):
                raise DatasetError(
                    f"demonstration: key {key!r} is {array.shape}, expected ({len(self)}, ...) as actions have"
                )
            if array.dtype.kind not in "biuf":
                raise DatasetError(f"demonstration: key {key!r}: expected numbers, found {array.dtype}")
            if not np.isfinite(array).all():
                raise DatasetError(f"demonstration: key {key!r} holds a NaN or infinity")

    def __len__(self) -> int:
        return len(self.actions)

    def after(self, n_steps: int) -> Demonstration | None:
        """What follows on the first ``n_steps``; None where nothing does."""
        if n_steps >= len(self):
            return None
        own = {name: getattr(self, name)[n_steps:] for name in TYPES}
        past, future = (
            {key: np.asarray(array)[n_steps:] for key, array in by_key.items()}
            for by_key in (self.observations, self.next_observations)
        )
        return replace(self, observations=past, next_observations=future, **own)

    def steps(self) -> dict[str, np.ndarray]:
        """All that has a row a step, by its path in robomimic's files."""
        own = {name: getattr(self, name) for name in TYPES}
        return {**own, **flat({"obs": self.observations, "next_obs": self.next_observations})}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested mappings as one, with keys ``a/b/c``."""
    arrays: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        arrays |= flat(value, f"{prefix}{key}/") if isinstance(value, Mapping) else {prefix + key: np.asarray(value)}
    return arrays
