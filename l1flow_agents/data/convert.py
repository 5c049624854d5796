"""From one format of demonstrations to another: what is read is `Episodes`, and what is written from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import gymnasium as gym
import numpy as np
import zarr

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import open_dataset
from l1flow_agents.data.lerobot_writer import write_lerobot
from l1flow_agents.data.minari_writer import write_minari
from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.demonstration import Demonstration
from l1flow_agents.errors import ConfigError
from l1flow_agents.files import output_path, replaced_folder
from l1flow_agents.names import choose

SUFFIXES = {".hdf5": "robomimic", ".h5": "robomimic", ".zarr": "zarr"}
PICTURES = 16  # of a chunk of a Zarr


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike,
    to: str | None = None,
    *,
    keys: Iterable[str] | None = None,
    filter_key: str | None = None,
    fps: float | None = None,
    task: str | None = None,
    video: bool = False,
    env: str | None = None,
) -> Episodes:
    """Write the data set at ``source`` in another format, as the new file or folder ``output``.

    Observations, actions and rewards go along, and what the source says of its environment where the format has a place
    for it; simulator states do not.

    Args:
        to: a key of `WRITERS` (default: robomimic for ``.hdf5``, zarr for ``.zarr``, otherwise lerobot).
        keys, filter_key: as of `open_dataset`.
        fps: steps a second, which a LeRobotDataset must know (default: what the source says).
        task: what the episodes do, in words, for a LeRobotDataset whose source does not say it.
        video: a LeRobotDataset's pictures as H.264, which loses a little; as PNG otherwise.
        env: id of the environment, which a Minari data set keeps for `recover_environment`.

    Returns:
        What was written.

    Raises:
        DatasetError: the source cannot be read, or not be written in that format.
        ConfigError: something is at ``output``, nothing can be written there, or nobody says the fps.
    """
    output, kind = Path(output), to or SUFFIXES.get(Path(output).suffix, "lerobot")
    write = choose(kind, WRITERS, "format to write")
    if video and kind != "lerobot":
        raise ConfigError(f"{output}: only a LeRobotDataset holds videos, and this is written as {kind}")
    if output.exists():
        raise ConfigError(f"{output}: expected a new name, something is there already")
    output_path(output)
    episodes = open_dataset(source, keys, filter_key)
    if kind == "lerobot":
        write_lerobot(episodes, output, fps or _fps(episodes), task or _task(episodes), video)
    elif kind == "minari":
        write_minari(episodes, output, gym.spec(env) if env else None)
    else:
        write(episodes, output)
    return episodes


def write_robomimic(episodes: Episodes, path: str | os.PathLike) -> None:
    """As robomimic's HDF5. Without simulator states it can be trained from, but not be replayed."""
    begin = 0
    with RobomimicWriter(path, episodes.env_args or {}) as writer:
        for end in episodes.ends.tolist():
            rows, length = slice(begin, end), end - begin
            rewards = np.zeros(length) if episodes.rewards is None else episodes.rewards[rows]
            demonstration = Demonstration(
                observations={key: np.asarray(array[rows]) for key, array in episodes.observations.items()},
                actions=episodes.actions[rows],
                states=np.zeros((length, 0)),
                rewards=rewards,
                dones=np.arange(length) == length - 1,
            )
            writer.append(demonstration)
            begin = end


def write_replay_zarr(episodes: Episodes, path: str | os.PathLike) -> None:
    """As Diffusion Policy's replay buffer, Zarr format 2."""
    with replaced_folder(Path(path)) as folder:
        root = zarr.open_group(str(folder), mode="w", zarr_format=2)
        root.create_array("meta/episode_ends", data=episodes.ends)
        for key, array in {"action": episodes.actions, **episodes.observations}.items():
            pictures = array.ndim == 4
            chunks = (PICTURES if pictures else max(1, min(len(array), 4096)), *array.shape[1:])
            stored = root.create_array(f"data/{key}", shape=array.shape, dtype=array.dtype, chunks=chunks)
            for begin in range(0, len(array), chunks[0]):
                stored[begin : begin + chunks[0]] = np.asarray(array[begin : begin + chunks[0]])


def _fps(episodes: Episodes) -> float:
    told = episodes.fps or ((episodes.env_args or {}).get("env_kwargs") or {}).get("control_freq")
    if not isinstance(told, int | float) or not told > 0:
        raise ConfigError(f"{episodes.source} does not say how many steps a second has; give them (--fps)")
    return told


def _task(episodes: Episodes) -> str:
    return str((episodes.env_args or {}).get("env_name") or Path(episodes.source).stem)


WRITERS: dict[str, Callable[..., None]] = {
    "lerobot": write_lerobot,
    "minari": write_minari,
    "robomimic": write_robomimic,
    "zarr": write_replay_zarr,
}
