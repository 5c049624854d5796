"""Hindsight: a demonstration that missed its goal by a little, moved by as little, shows how to reach it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS, PUSHT_MARK

PUSHT = LAYOUTS["PushT-v0"]
LAST = 50  # steps that are moved, 5 s


def onto_the_mark(episodes: Episodes) -> Episodes:
    """PushT's demonstrations with their ends shifted and turned so that the block's last pose is the mark's.

    A push is the same push wherever it happens. People stop 5 px and 3 degrees off the mark, at 0.85 of it covered
    where success is 0.95; what they do before was aimed at the mark itself. So the last step is moved by all that is
    missing, those before by less and less: from one to the next by a tenth of a pixel, which no contact notices.

    Raises:
        ConfigError: the observations are others than ``state`` alone.
    """
    shapes = {key: array.shape[1:] for key, array in episodes.observations.items()}
    if shapes != {"state": (PUSHT.dim,)}:
        raise ConfigError(f"training: hindsight 'pusht' is of state {(PUSHT.dim,)} alone; got {shapes}")
    state, actions = episodes.observations["state"].astype(np.float64), episodes.actions.astype(np.float64)
    finger, block, angle = (state[:, part] for part in PUSHT.values())  # views
    for begin, end in zip(episodes.starts.tolist(), episodes.ends.tolist(), strict=True):
        rows = slice(max(begin, end - LAST), end)
        share = 1 - np.arange(end - rows.start)[::-1, None] / LAST
        last = block[end - 1].copy()
        turned = share * ((PUSHT_MARK[2] - angle[end - 1] + np.pi) % (2 * np.pi) - np.pi)
        shifted = last + share * (np.array(PUSHT_MARK[:2]) - last)
        for places in (finger, block, actions):
            x, y = (places[rows] - last).T[..., None]
            ahead, aside = np.cos(turned) * x - np.sin(turned) * y, np.sin(turned) * x + np.cos(turned) * y
            places[rows] = shifted + np.concatenate([ahead, aside], axis=1)
        angle[rows] = (angle[rows] + turned) % (2 * np.pi)
    moved = episodes.with_observations({"state": state.astype(np.float32)})
    return moved.with_actions(actions.astype(np.float32))


HINDSIGHT: dict[str, Callable[[Episodes], Episodes]] = {"pusht": onto_the_mark}
