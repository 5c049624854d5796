"""Idle rows of demonstrations: people stop to think, and a plan that begins there begins with a pause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import DatasetError


def moving_rows(episodes: Episodes, share: float) -> np.ndarray:
    """(n_steps,) bool: rows that begin an episode, or show something else than the last such row before them.

    Args:
        share: of the range that each number of the observations spans in these data; a row within it is idle. What
            creeps is kept as often as it has gone that far. Pictures are not looked at.

    Raises:
        DatasetError: there are pictures only.
    """
    seen = [array.reshape(episodes.n_steps, -1) for array in episodes.observations.values() if array.dtype != np.uint8]
    if not seen:
        raise DatasetError(f"{episodes.source}: idle rows are found by numbers, and the observations are pictures only")
    values = np.concatenate(seen, axis=1, dtype=np.float64)
    tolerance = share * np.ptp(values, axis=0)
    moving = np.zeros(episodes.n_steps, bool)
    for begin, end in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
        moving[begin], last = True, begin
        for row in range(begin + 1, end):
            if (np.abs(values[row] - values[last]) > tolerance).any():
                moving[row], last = True, row
    return moving


def without_idle(episodes: Episodes, share: float) -> Episodes:
    """The episodes without their idle rows, see `moving_rows`; the rows that stay are copied, pictures too."""
    moving = moving_rows(episodes, share)
    return replace(
        episodes,
        observations={key: array[moving] for key, array in episodes.observations.items()},
        actions=episodes.actions[moving],
        ends=np.cumsum(moving)[episodes.ends - 1],
    )
