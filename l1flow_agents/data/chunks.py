"""Windows of a few observations and a chunk of actions, padded at the edges of an episode."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from l1flow_agents import limits
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import ConfigError


class Chunks(NamedTuple):
    """A batch of windows.

    Attributes:
        observations: one array (batch, n_obs_steps, *shape) a key, oldest first.
        actions: (batch, horizon, action_dim) float32; row ``n_obs_steps - 1`` belongs to the newest observation.
        valid: (batch, horizon) bool, False where the action is a repeated edge of the episode.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    valid: np.ndarray


class ChunkSampler:
    """Indexable windows over the chosen episodes (the sampling rule of Diffusion Policy).

    A window may start ``n_obs_steps - 1`` rows before its episode and reach ``n_action_steps - 1`` rows past it;
    rows outside repeat the first or last one, and windows never cross episodes. An episode too short for any
    window still yields one.
    """

    def __init__(
        self,
        episodes: Episodes,
        horizon: int,
        n_obs_steps: int,
        n_action_steps: int,
        episode_ids: np.ndarray | None = None,
    ) -> None:
        check_chunk_lengths(horizon, n_obs_steps, n_action_steps)
        self.episodes = episodes
        self.horizon, self.n_obs_steps, self.n_action_steps = horizon, n_obs_steps, n_action_steps
        ends = np.asarray(episodes.ends, np.int64)
        begins = np.concatenate([[0], ends[:-1]])
        ids = np.arange(len(ends)) if episode_ids is None else np.asarray(episode_ids)
        first = -(n_obs_steps - 1)
        n_windows = np.maximum(ends - begins - horizon + (n_action_steps - 1) - first + 1, 1)[ids]
        self._begin = np.repeat(begins[ids], n_windows)
        self._last = np.repeat(ends[ids] - 1, n_windows)
        offset = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        self._start = self._begin + first + offset
        self._steps = np.arange(horizon)
        self._shuffled: tuple[int, int] | None = None  # (epoch, seed) of the order in hand

    def __len__(self) -> int:
        return len(self._start)

    def __getitem__(self, indices: np.ndarray) -> Chunks:
        """The windows at ``indices`` (batch,), read in one gather a key."""
        rows = self._start[indices][:, None] + self._steps
        begin, last = self._begin[indices][:, None], self._last[indices][:, None]
        clipped = np.clip(rows, begin, last)
        newest = clipped[:, : self.n_obs_steps]
        observations = {key: array[newest] for key, array in self.episodes.observations.items()}
        return Chunks(observations, self.episodes.actions[clipped], rows == clipped)

    def batch_indices(self, step: int, batch_size: int, seed: int) -> np.ndarray:
        """Which windows gradient step ``step`` sees: shuffled epochs, a pure function of its arguments.

        The last, incomplete batch of an epoch is dropped; with fewer windows than ``batch_size`` all are used.
        """
        epoch, part = self.place(step, batch_size)
        return self.order(epoch, seed)[part]

    def place(self, step: int, batch_size: int) -> tuple[int, slice]:
        """The epoch of gradient step ``step``, and where in its `order` the windows are."""
        epoch, batch = divmod(step, max(len(self) // batch_size, 1))
        return epoch, slice(batch * batch_size, (batch + 1) * batch_size)

    def order(self, epoch: int, seed: int) -> np.ndarray:
        """All windows, shuffled; made once an epoch, not a batch."""
        if self._shuffled != (epoch, seed):
            self._order = np.random.Generator(np.random.Philox(key=(seed, epoch))).permutation(len(self))
            self._shuffled = (epoch, seed)
        return self._order

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows (len(self),) where windows begin, perhaps before their episode, and its first and last row."""
        return self._start, self._begin, self._last


def check_chunk_lengths(horizon: int, n_obs_steps: int, n_action_steps: int) -> None:
    """Raise ConfigError unless the executed actions lie inside the chunk."""
    for name, length in [("horizon", horizon), ("n_obs_steps", n_obs_steps), ("n_action_steps", n_action_steps)]:
        if not isinstance(length, int | np.integer) or isinstance(length, bool):
            raise ConfigError(f"expected {name} as a whole number, got {length!r}")
    if horizon > limits.FEW:
        raise ConfigError(f"horizon must be at most {limits.FEW}, got {horizon}")
    if min(horizon, n_obs_steps, n_action_steps) < 1:
        raise ConfigError(
            "horizon, n_obs_steps and n_action_steps must be at least 1, "
            f"got {horizon}, {n_obs_steps}, {n_action_steps}"
        )
    if n_obs_steps - 1 + n_action_steps > horizon:
        raise ConfigError(
            f"n_obs_steps - 1 + n_action_steps must be at most horizon = {horizon}, "
            f"got {n_obs_steps} - 1 + {n_action_steps}"
        )
