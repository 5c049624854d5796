"""Actions of a data set against the bounds of the space that an agent acts in."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import ConfigError, DatasetError

TOLERANCE = 1e-3  # of a dimension's range: rounding, of half precision, too


def within(episodes: Episodes, space: spaces.Box, outside: str = "refuse") -> Episodes:
    """The episodes, with actions that an agent can repeat: what it plans is clipped to ``space``.

    Args:
        outside: what becomes of actions outside, a key of `OUTSIDE`.

    Raises:
        DatasetError: ``refuse``, and there are such; says how many, and how far.
    """
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)  # whole numbers would overflow
    slack = np.where(np.isfinite(high - low), TOLERANCE * (high - low), 0)
    beyond = (episodes.actions < low - slack) | (episodes.actions > high + slack)
    return OUTSIDE[outside](episodes, space, beyond) if beyond.any() else episodes


def refuse(episodes: Episodes, space: spaces.Box, beyond: np.ndarray) -> Episodes:
    """Say which share of steps is ``beyond`` (n_steps, action_dim), and the extremes of the worst dimension."""
    steps, worst = beyond.any(axis=1), int(np.argmax(beyond.sum(axis=0)))
    column = episodes.actions[:, worst]
    raise DatasetError(
        f"{episodes.source}: key 'action': {max(steps.mean(), 0.001):.1%} of the steps lie outside the action space, "
        f"first {episodes.place(int(np.argmax(steps)))}; dimension {worst} holds {column.min():.4g}..{column.max():.4g}"
        f", expected {space.low[worst]:.4g}..{space.high[worst]:.4g}; clip them (training.actions=clip), or rescale "
        "them if their units are others (data.actions.rescaled)"
    )


def clip(episodes: Episodes, space: spaces.Box, beyond: np.ndarray) -> Episodes:
    """The nearest actions inside."""
    return episodes.with_actions(np.clip(episodes.actions, space.low, space.high).astype(np.float32))


OUTSIDE = {"refuse": refuse, "clip": clip}


def rescaled(episodes: Episodes, low: np.ndarray, high: np.ndarray, space: spaces.Box) -> Episodes:
    """The episodes with actions in the units of ``space``: ``low`` becomes its lowest action, ``high`` its highest.

    Args:
        low, high: (action_dim,) or numbers: the bounds of the space that the actions were recorded in, such as -0.05
            and 0.05 for metres that the environment takes as -1..1. Not what the data happen to reach: that would
            change what an action means.

    Raises:
        ConfigError: a bound is not finite, or low is not below high.
    """
    lower, upper = (np.broadcast_to(np.asarray(one, np.float64), space.shape) for one in (low, high))
    bounds = np.stack([lower, upper, space.low, space.high])
    if not np.isfinite(bounds).all() or not (lower < upper).all():
        raise ConfigError(f"expected finite bounds with low < high, got {low}, {high} for {space}")
    unit = (episodes.actions - lower) / (upper - lower)
    return episodes.with_actions((bounds[2] + unit * (bounds[3] - bounds[2])).astype(np.float32))
