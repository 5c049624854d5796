"""What `predict` returns and takes back: all that an agent remembers of the environments it acts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces

from l1flow_agents.errors import ObservationError
from l1flow_agents.spaces import kept_dtype

State = tuple[np.ndarray, ...]
"""``(counters, chunk, *history)``, a row an environment.

``counters`` (n, 4) int64: actions of the chunk already used (-1: nothing seen yet), noise seed, plans made in this
episode, plans made in earlier ones. ``chunk`` (n, n_action_steps, action_dim) in the actions' dtype. Then one history
(n, n_obs_steps, *shape) an observation key, in alphabetical order: uint8 for pictures, float32 for all else.
"""
USED, SEED, PLANS, EARLIER = range(4)  # columns of the counters
NOTHING_SEEN = -1


@dataclass(frozen=True)
class Layout:
    """Shapes and dtypes of the states of one agent.

    Args:
        boxes: of observations, by key.
        n_obs_steps: length of a history.
        chunk: shape of the actions that are executed before the next plan, (n_action_steps, action_dim).
        dtype: of actions.
    """

    boxes: Mapping[str, spaces.Box]
    n_obs_steps: int
    chunk: tuple[int, ...]
    dtype: np.dtype

    def of(self, n: int) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array for ``n`` environments."""
        history = [((n, self.n_obs_steps, *box.shape), np.dtype(kept_dtype(box))) for box in self.boxes.values()]
        return [((n, 4), np.dtype(np.int64)), ((n, *self.chunk), self.dtype), *history]

    def new(self, n: int, noise_seeds: np.ndarray | None = None) -> State:
        """The state of ``n`` environments that have seen nothing; seeds are drawn where none are given."""
        state = tuple(np.zeros(shape, dtype) for shape, dtype in self.of(n))
        state[0][:, USED] = NOTHING_SEEN
        state[0][:, SEED] = torch.randint(1, 2**62, (n,)).numpy() if noise_seeds is None else noise_seeds
        return state

    def check(self, state: State, n: int) -> State:
        """``state``, or an ObservationError if it is not one of ``n`` environments."""
        parts = state if isinstance(state, tuple | list) else ()
        given = [(getattr(part, "shape", None), getattr(part, "dtype", None)) for part in parts]
        if given != self.of(n):
            found, expected = ([f"{dtype} {shape}" for shape, dtype in one] for one in (given, self.of(n)))
            raise ObservationError(
                f"state does not belong to {n} environments of this agent: expected {expected}, got "
                + (str(found) if parts else type(state).__name__)
            )
        return state


def begin_episodes(counters: np.ndarray, episode_start: np.ndarray) -> None:
    """Forget, in place, what the started environments saw and planned, but not how much noise they drew."""
    starts = np.atleast_1d(np.asarray(episode_start))
    if starts.shape != counters.shape[:1] or starts.dtype.kind not in "bif":
        raise ObservationError(
            f"episode_start must be {counters.shape[:1]} booleans, got shape {starts.shape}, dtype {starts.dtype}"
        )
    starts = starts.astype(bool)
    counters[starts, USED] = NOTHING_SEEN
    counters[starts, EARLIER] += counters[starts, PLANS]
    counters[starts, PLANS] = 0


def remember(history: Sequence[np.ndarray], newest: Mapping[str, np.ndarray], fresh: np.ndarray) -> list[np.ndarray]:
    """Histories with the newest observation appended, or filled with it in the ``fresh`` rows."""
    updated = []
    for past, observation in zip(history, newest.values(), strict=True):
        observation = observation[:, None]
        n_obs_steps = past.shape[1]
        pushed = np.concatenate([past[:, 1:], observation], axis=1) if n_obs_steps > 1 else observation.copy()
        if fresh.any():
            pushed[fresh] = observation[fresh]
        updated.append(pushed)
    return updated
