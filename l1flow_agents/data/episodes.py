"""What every data format is read into: the steps of all episodes, one after the other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from l1flow_agents.data.lazy_images import LazyImages
from l1flow_agents.errors import DatasetError


@dataclass(frozen=True)
class Episodes:
    """Demonstrations as flat arrays and the places where episodes end.

    Row ``t`` holds the observation before action ``t``. Arrays may be memory-mapped, or `LazyImages`, and of any whole
    or floating dtype: nothing here copies or decodes them. Lists become arrays.

    Args:
        observations: one array (n_steps, *shape) a key; images uint8 (H, W, C), everything else numbers. The key of a
            bare box is ``observation``.
        actions: (n_steps, action_dim) numbers, in the environment's units.
        ends: (n_episodes,) integers, the exclusive end row of each episode, strictly increasing.
        source: where the data came from, for messages and for the checkpoint's record.
        names: what the source calls each episode, such as ``demo_7``, for messages.
        env_args: robomimic's description of the environment, where the source has one: training compares it with the
            environment that it trains for.
        rewards: (n_steps,) after each action, where the source has them: they are kept in conversions.
        fps: steps a second, where the source says so.
        tasks: what each episode does, in words, where the source says so.

    Raises:
        DatasetError: lengths disagree, an episode is empty, or a value is no finite number.

    Example:
        >>> demos = Episodes({"state": np.zeros((5, 3))}, np.zeros((5, 2)), np.array([2, 5]))
        >>> len(demos), demos.n_steps, demos.actions.dtype
        (2, 5, dtype('float64'))
    """

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    ends: np.ndarray
    source: str = "arrays"
    names: tuple[str, ...] | None = None
    env_args: Mapping[str, Any] | None = None
    rewards: np.ndarray | None = None
    fps: float | None = None
    tasks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.observations, Mapping) or not self.observations:
            found = "none" if isinstance(self.observations, Mapping) else type(self.observations).__name__
            raise DatasetError(
                f"{self.source}: expected at least one observation key, found {found}; a single array of observations "
                "is {'observation': array}"
            )
        observations = {key: self._converted(key, value) for key, value in self.observations.items()}
        object.__setattr__(self, "observations", observations)
        object.__setattr__(self, "actions", self._converted("action", self.actions))
        object.__setattr__(self, "ends", self._checked_ends())
        for what, told in (("names", self.names), ("tasks", self.tasks)):
            if told is not None and len(told) != len(self.ends):
                raise DatasetError(f"{self.source}: {len(told)} {what} for {len(self.ends)} episodes")
        self._check_lengths()
        for name, array in [("action", self.actions), *self.observations.items()]:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                raise DatasetError(f"{self.source}: key {name!r} holds a NaN or infinity, first in {self.place(row)}")

    def _converted(self, name: str, value: Any) -> np.ndarray:
        """As an array of whole or floating numbers."""
        if isinstance(value, LazyImages):
            return value  # type: ignore[return-value]  # as far as anybody here asks, it is an array
        try:
            array: np.ndarray = np.asanyarray(value)
        except ValueError as error:  # rows of different lengths
            raise DatasetError(f"{self.source}: key {name!r} is no array ({error})") from None
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise DatasetError(f"{self.source}: key {name!r}: expected rows of numbers, found {_kind(array)}")
        return array

    def _checked_ends(self) -> np.ndarray:
        try:
            ends = np.asarray(self.ends)
        except ValueError as error:
            raise DatasetError(f"{self.source}: episode ends are no list ({error})") from None
        if ends.ndim != 1 or len(ends) == 0:
            raise DatasetError(f"{self.source}: episode ends must be a list of at least one row, found {ends.shape}")
        if ends.dtype.kind not in "iu":
            raise DatasetError(f"{self.source}: episode ends must be whole numbers, found {ends.dtype}")
        return ends.astype(np.int64, copy=False)

    def _check_lengths(self) -> None:
        n_steps, lengths = len(self.actions), self.lengths
        if self.actions.ndim != 2:
            raise DatasetError(f"{self.source}: actions must be (n_steps, action_dim), found {self.actions.shape}")
        if (lengths <= 0).any():
            bad = int(np.argmax(lengths <= 0))
            raise DatasetError(
                f"{self.source}: {self.name(bad)} is empty or ends before it starts (length {lengths[bad]})"
            )
        if self.ends[-1] != n_steps:
            raise DatasetError(
                f"{self.source}: the last episode ends at row {self.ends[-1]} but there are {n_steps} actions"
            )
        for key, array in self.observations.items():
            if len(array) != n_steps:
                raise DatasetError(
                    f"{self.source}: key {key!r} has {len(array)} rows, expected {n_steps} as actions have"
                )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def n_steps(self) -> int:
        return len(self.actions)

    @property
    def starts(self) -> np.ndarray:
        """(n_episodes,) each episode's first row."""
        return np.asarray(self.ends - self.lengths)

    @property
    def lengths(self) -> np.ndarray:
        """(n_episodes,) steps of each."""
        return np.diff(self.ends, prepend=0)

    def name(self, episode: int) -> str:
        """What the source calls it, or ``episode 3``."""
        return f"episode {episode}" if self.names is None else self.names[episode]

    def place(self, row: int) -> str:
        """Where flat row ``row`` is in the source: ``demo_7, row 12``."""
        episode = int(np.searchsorted(self.ends, row, side="right"))
        return f"{self.name(episode)}, row {row - (self.ends[episode - 1] if episode else 0)}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over episode ends, actions and low-dimensional observations; images count by shape only."""
        digest = hashlib.sha256(np.asarray(self.ends, np.int64).tobytes())
        for name, array in sorted({"action": self.actions, **self.observations}.items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            if array.dtype != np.uint8:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Plain values for people: how many, how long, and the ranges of actions."""
        low, high = self.actions.min(axis=0), self.actions.max(axis=0)
        return {
            "source": self.source,
            "episodes": len(self),
            "steps": self.n_steps,
            "lengths": {"shortest": int(self.lengths.min()), "longest": int(self.lengths.max())},
            **({} if self.fps is None else {"fps": self.fps}),
            **({} if self.tasks is None else {"tasks": _counted(self.tasks)}),
            "action": {
                "shape": list(self.actions.shape[1:]),
                "dtype": str(self.actions.dtype),
                "lowest": [float(f"{value:.4g}") for value in low],
                "highest": [float(f"{value:.4g}") for value in high],
            },
            "observations": {
                key: {"shape": list(array.shape[1:]), "dtype": str(array.dtype)}
                for key, array in self.observations.items()
            },
            "fingerprint": self.fingerprint,
        }

    def with_observations(self, observations: Mapping[str, np.ndarray]) -> Episodes:
        """The same episodes with other observations."""
        return replace(self, observations=observations)

    def with_actions(self, actions: np.ndarray) -> Episodes:
        """The same episodes with other actions."""
        return replace(self, actions=actions)

    def select(self, keys: Iterable[str]) -> Episodes:
        """The same episodes with these observation keys only.

        Raises:
            DatasetError: a key is missing.
        """
        keys = list(keys)
        if missing := [key for key in keys if key not in self.observations]:
            raise DatasetError(f"{self.source}: no observation key {missing}, found {sorted(self.observations)}")
        return self.with_observations({key: self.observations[key] for key in keys})

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


def _kind(array: np.ndarray) -> str:
    return "a single one" if array.ndim == 0 else f"type {array.dtype}"


def _counted(tasks: tuple[str, ...]) -> dict[str, int]:
    """How many episodes each of the commonest tasks has."""
    return dict(Counter(tasks).most_common(20))
