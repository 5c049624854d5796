"""Hindsight: a demonstration that missed its goal by a little shows, moved as a whole, how to reach it exactly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.errors import ConfigError
from l1flow_agents.layouts import LAYOUTS, PUSHT_MARK

PUSHT = LAYOUTS["PushT-v0"]


def onto_the_mark(episodes: Episodes) -> Episodes:
    """PushT's demonstrations, each shifted and turned by what moves the block's last pose onto the mark.

    The simulation is the same wherever it happens, but for the walls. People's last poses are 5 px and 3 degrees off.

    Raises:
        ConfigError: the observations are others than ``state`` alone.
    """
    shapes = {key: array.shape[1:] for key, array in episodes.observations.items()}
    if shapes != {"state": (PUSHT.dim,)}:
        raise ConfigError(f"training: hindsight 'pusht' is of state {(PUSHT.dim,)} alone; got {shapes}")
    state, actions = episodes.observations["state"].astype(np.float64), episodes.actions.astype(np.float64)
    mark, mark_angle = PUSHT_MARK[:2], PUSHT_MARK[2]
    for begin, end in pairwise([0, *episodes.ends.tolist()]):
        rows = slice(begin, end)
        last, angle = state[end - 1, PUSHT["block_pos"]].copy(), mark_angle - state[end - 1, PUSHT["block_angle"]]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for part in (PUSHT["agent_pos"], PUSHT["block_pos"]):
            state[rows, part] = (state[rows, part] - last) @ turn.T + mark
        actions[rows] = (actions[rows] - last) @ turn.T + mark
        state[rows, PUSHT["block_angle"]] = (state[rows, PUSHT["block_angle"]] + angle) % (2 * np.pi)
    moved = episodes.with_observations({"state": state.astype(np.float32)})
    return moved.with_actions(actions.astype(np.float32))


HINDSIGHT: dict[str, Callable[[Episodes], Episodes]] = {"pusht": onto_the_mark}
