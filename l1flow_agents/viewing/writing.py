"""From a data set, or a rollout folder, to a page."""

from __future__ import annotations

import os
from pathlib import Path

from l1flow_agents.agent import ChunkAgent
from l1flow_agents.checks import read_as
from l1flow_agents.data import open_dataset
from l1flow_agents.data.download import locate
from l1flow_agents.errors import ConfigError, DatasetError
from l1flow_agents.files import as_path, output_path, write_atomically
from l1flow_agents.kinds import Count
from l1flow_agents.viewing.dataset import dataset_page
from l1flow_agents.viewing.rollout import is_rollout, rollout_page

MOST_EPISODES = 20


def view(
    source: str | os.PathLike,
    output: str | os.PathLike,
    agent: ChunkAgent | None = None,
    n_episodes: int = MOST_EPISODES,
    filter_key: str | None = None,
) -> Path:
    """Write one HTML file, of 20 MB at most, that shows a data set or a rollout folder without any network.

    Args:
        source: a data set of any format that `open_dataset` reads, or a folder with the ``results.json`` and films of
            an evaluation.
        agent: draws its plans over the demonstrated actions, and its spaces say what is out of range.
        n_episodes: episodes to play, at most 20; statistics are of all.
        filter_key: as `open_dataset`.

    Raises:
        ConfigError: nothing can be written there, too many episodes, or something that a rollout folder has not.
        DatasetError: as `open_dataset`, or the data are not what the agent looks at.
    """
    target = output_path(output)
    if read_as(Count, n_episodes, "view", "n_episodes") > MOST_EPISODES:
        raise ConfigError(f"a page shows 1 to {MOST_EPISODES} episodes, got {n_episodes}")
    try:
        left_by_evaluation = is_rollout(as_path(source))
    except OSError as error:  # a name too long for the file system, say
        raise DatasetError(f"{str(source)[:80]}: {error.strerror}") from None
    if left_by_evaluation:
        if agent is not None or filter_key is not None:
            raise ConfigError(f"{source}: a rollout folder has no observations to plan from, and no filter keys")
        text = rollout_page(Path(source), n_episodes)
    else:
        text = dataset_page(open_dataset(locate(source), filter_key=filter_key), agent, n_episodes)
    write_atomically(target, text)
    return target
