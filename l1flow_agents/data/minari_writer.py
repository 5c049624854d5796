"""Writer of Minari's data sets, which Minari's own loader opens (checked with 0.5.4, see docs/lerobot.md)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium.envs.registration import EnvSpec

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.minari import BARE, DATA, METADATA
from l1flow_agents.errors import ConfigError
from l1flow_agents.files import replaced_folder

VERSION = "0.5.4"  # of the format


def write_minari(episodes: Episodes, path: str | os.PathLike, env_spec: EnvSpec | None = None) -> None:
    """Write ``episodes`` as the folder ``path``, which appears when it is whole.

    An episode of Minari's has an observation after its last action, which demonstrations lack: the last is repeated.
    Every episode ends truncated, as nobody says that it terminated. Pictures are stored as they are, not as JPEG.

    Args:
        path: named as the data set's id, ``NAME-v0``; without a version it becomes ``-v0``.
        env_spec: of the environment, for `recover_environment`.

    Raises:
        ConfigError: the spec is of arguments that are no plain values.
    """
    name = re.sub(r"[^\w-]", "-", Path(path).name)
    metadata: dict[str, Any] = {
        "dataset_id": name if re.search(r"-v\d+$", name) else f"{name}-v0",
        "minari_version": VERSION,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "total_episodes": len(episodes),
        "total_steps": episodes.n_steps,
        "observation_space": json.dumps(_space(episodes)),
        "action_space": json.dumps(_box(episodes.actions)),
        "l1flow": {"env_args": episodes.env_args, "fps": episodes.fps},
    }
    if env_spec is not None:
        try:
            metadata["env_spec"] = env_spec.to_json()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{env_spec.id} cannot be described for Minari ({error})") from None
    with replaced_folder(Path(path)) as folder:
        (folder / "data").mkdir()
        with h5py.File(folder / "data" / DATA, "w", track_order=True) as file:
            begin = 0
            for number, end in enumerate(episodes.ends.tolist()):
                _write_episode(file.create_group(f"episode_{number}"), number, episodes, slice(begin, end))
                begin = end
        metadata["dataset_size"] = round((folder / "data" / DATA).stat().st_size / 1e6, 1)
        (folder / "data" / METADATA).write_text(json.dumps(metadata))


def _write_episode(group: h5py.Group, number: int, episodes: Episodes, rows: slice) -> None:
    n = rows.stop - rows.start
    group.attrs.update({"id": number, "total_steps": n})
    for key, array in episodes.observations.items():
        values = np.asarray(array[rows])
        name = "observations" if list(episodes.observations) == [BARE] else f"observations/{key}"
        packing = {"chunks": (1, *values.shape[1:]), "compression": "gzip", "compression_opts": 1}
        group.create_dataset(name, data=np.concatenate([values, values[-1:]]), **(packing if values.ndim == 4 else {}))
    group["actions"] = episodes.actions[rows]
    group["rewards"] = np.zeros(n) if episodes.rewards is None else episodes.rewards[rows].astype(np.float64)
    group["terminations"], group["truncations"] = np.zeros(n, bool), np.arange(n) == n - 1


def _space(episodes: Episodes) -> dict[str, Any]:
    boxes = {key: _box(array) for key, array in episodes.observations.items()}
    if list(boxes) == [BARE]:
        return boxes[BARE]
    space: dict[str, Any] = {"type": "Dict", "subspaces": {}}
    for key, box in boxes.items():
        *outer, name = key.split("/")
        inside = space
        for one in outer:
            inside = inside["subspaces"].setdefault(one, {"type": "Dict", "subspaces": {}})
        inside["subspaces"][name] = box
    return space


def _box(array: np.ndarray) -> dict[str, Any]:
    """Pictures 0..255, everything else without bounds, which the data do not tell."""
    shape, whole = array.shape[1:], array.dtype.kind in "iub"
    dtype = np.dtype(np.uint8) if array.dtype.kind == "b" else array.dtype
    low = np.iinfo(dtype).min if whole else -np.inf
    high = np.iinfo(dtype).max if whole else np.inf
    bounds = {"low": np.full(shape, low).tolist(), "high": np.full(shape, high).tolist()}
    return {"type": "Box", "dtype": str(dtype), "shape": list(shape), **bounds}
