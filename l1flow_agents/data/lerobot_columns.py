"""How our observation keys and LeRobot's features are called by each other.

LeRobot's policies look at one ``observation.state`` and at ``observation.images.*``. So all low-dimensional keys are
written as one state, whose column names say where each number came from: ``object.0``, ``object.1``, ``eef_pos.0``...
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from l1flow_agents.data.lerobot_layout import Feature
from l1flow_agents.errors import DatasetError

OWN = Path("meta", "l1flow.json")  # what only this library's data sets say
STATE, IMAGES, OBSERVATION = "observation.state", "observation.images.", "observation."


def column_names(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of all numbers of a step, key after key."""
    return [f"{key}.{index}" for key, array in arrays.items() for index in range(int(np.prod(array.shape[1:])))]


def keys_in(names: Sequence[str]) -> dict[str, slice]:
    """The keys of which ``names`` are the numbers, and where; empty where they are something else."""
    keys: dict[str, slice] = {}
    for place, name in enumerate(names):
        key, _, index = name.rpartition(".")
        begin = keys[key].start if key in keys else place
        if not key or index != str(place - begin) or (key in keys and keys[key].stop != place):
            return {}
        keys[key] = slice(begin, place + 1)
    return keys


def split_columns(values: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a state, by key; empty where its names are not of that form."""
    return {key: values[:, columns] for key, columns in keys_in(names).items()}


def short_names(path: Path, features: Mapping[str, Feature]) -> dict[str, str]:
    """Observation key -> its feature.

    Raises:
        DatasetError: two features would have the same key.
    """
    short: dict[str, str] = {}
    for name, feature in features.items():
        if not name.startswith(OBSERVATION) or name == OBSERVATION:
            continue
        inside = [] if feature.is_image else list(keys_in(feature.names))
        for key in inside or [re.sub(r"^observation\.(images\.)?", "", name)]:
            if key in short:
                raise DatasetError(f"{path}: features {short[key]!r} and {name!r} would both be the key {key!r}")
            short[key] = name
    return short
