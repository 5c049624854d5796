"""What every data format is read into: the steps of all episodes, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from l1flow_agents.errors import DatasetError


@dataclass(frozen=True)
class Episodes:
    """Demonstrations as flat arrays and the places where episodes end.

    Row ``t`` holds the observation before action ``t``. Arrays may be memory-mapped; nothing here copies them.

    Args:
        observations: one array (n_steps, *shape) a key; images uint8 (H, W, C), everything else float32.
        actions: (n_steps, action_dim) float32, in the environment's units.
        ends: (n_episodes,) integers, the exclusive end row of each episode, strictly increasing.
        source: where the data came from, for messages and for the checkpoint's record.

    Raises:
        DatasetError: lengths disagree, an episode is empty, or a low-dimensional value is not finite.

    Example:
        >>> demos = Episodes({"state": np.zeros((5, 3), np.float32)}, np.zeros((5, 2), np.float32), np.array([2, 5]))
        >>> len(demos), demos.n_steps
        (2, 5)
    """

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    ends: np.ndarray
    source: str = "arrays"

    def __post_init__(self) -> None:
        if not self.observations:
            raise DatasetError(f"{self.source}: expected at least one observation key, found none")
        if self.actions.ndim != 2:
            raise DatasetError(f"{self.source}: actions must be (n_steps, action_dim), found {self.actions.shape}")
        ends = np.asarray(self.ends)
        if ends.ndim != 1 or len(ends) == 0:
            raise DatasetError(f"{self.source}: episode ends must be a list of at least one row, found {ends.shape}")
        lengths = np.diff(ends, prepend=0)
        if (lengths <= 0).any():
            bad = int(np.argmax(lengths <= 0))
            raise DatasetError(
                f"{self.source}: episode {bad} is empty or ends before it starts (length {lengths[bad]})"
            )
        if ends[-1] != len(self.actions):
            raise DatasetError(
                f"{self.source}: the last episode ends at row {ends[-1]} but there are {len(self.actions)} actions"
            )
        for name, array in [("action", self.actions), *self.observations.items()]:
            if len(array) != len(self.actions):
                raise DatasetError(
                    f"{self.source}: key {name!r} has {len(array)} rows, expected {len(self.actions)} as actions have"
                )
            if array.dtype != np.uint8 and not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DatasetError(f"{self.source}: key {name!r} holds a NaN or infinity, first in row {row}")

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def n_steps(self) -> int:
        return len(self.actions)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over episode ends, actions and low-dimensional observations; images count by shape only."""
        digest = hashlib.sha256(np.asarray(self.ends, np.int64).tobytes())
        for name, array in sorted({"action": self.actions, **self.observations}.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            if array.dtype != np.uint8:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def select(self, keys: Iterable[str]) -> Episodes:
        """The same episodes with these observation keys only.

        Raises:
            DatasetError: a key is missing.
        """
        keys = list(keys)
        if missing := [key for key in keys if key not in self.observations]:
            raise DatasetError(f"{self.source}: no observation key {missing}, found {sorted(self.observations)}")
        return replace(self, observations={key: self.observations[key] for key in keys})

    def split(self, val_fraction: float, seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
        """Episode indices for training and validation; Diffusion Policy's rule, so its split is reproduced.

        Args:
            val_fraction: share of episodes held out, 0 for none. Otherwise at least one and at most all but one.
        """
        n = len(self)
        if val_fraction <= 0 or n < 2:
            return np.arange(n), np.arange(0)
        n_val = min(max(1, round(n * val_fraction)), n - 1)
        val = np.sort(np.random.default_rng(seed).choice(n, size=n_val, replace=False))
        return np.setdiff1d(np.arange(n), val), val
