"""What `predict` returns and takes back: all that an agent remembers of the environments it acts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class Layout:
    """Shapes and dtypes of the states of one agent.

    Args:
        boxes: of observations, by key.
        n_obs_steps: length of a history.
        chunk: shape of the actions that are executed before the next plan, (n_action_steps, action_dim).
        dtype: of actions.
    """

    def __init__(
        self, boxes: Mapping[str, spaces.Box], n_obs_steps: int, chunk: tuple[int, ...], dtype: np.dtype
    ) -> None:
        history = [((n_obs_steps, *box.shape), np.dtype(kept_dtype(box))) for box in boxes.values()]
        self.parts = [((4,), np.dtype(np.int64)), (chunk, dtype), *history]  # of one environment

    def new(self, n: int, noise_seeds: np.ndarray | None = None) -> State:
        """The state of ``n`` environments that have seen nothing; seeds are drawn where none are given."""
        state = tuple(np.zeros((n, *shape), dtype) for shape, dtype in self.parts)
        state[0][:, USED] = NOTHING_SEEN
        state[0][:, SEED] = torch.randint(1, 2**62, (n,)).numpy() if noise_seeds is None else noise_seeds
        return state

    def check(self, state: State, n: int) -> State:
        """``state``, or an ObservationError if it is not one of ``n`` environments."""
        parts = state if isinstance(state, tuple | list) else ()
        given = [(getattr(part, "shape", None), getattr(part, "dtype", None)) for part in parts]
        expected = [((n, *shape), dtype) for shape, dtype in self.parts]
        if given != expected:
            found = [f"{dtype} {shape}" for shape, dtype in given] if parts else type(state).__name__
            wanted = [f"{dtype} {shape}" for shape, dtype in expected]
            raise ObservationError(
                f"state does not belong to {n} environments of this agent: expected {wanted}, got {found}"
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
    updated, all_fresh = [], fresh.all()
    for past, observation in zip(history, newest.values(), strict=True):
        observation = observation[:, None]
        if all_fresh:
            updated.append(observation.repeat(past.shape[1], axis=1))
            continue
        pushed = np.concatenate([past[:, 1:], observation], axis=1)
        if fresh.any():
            pushed[fresh] = observation[fresh]
        updated.append(pushed)
    return updated
