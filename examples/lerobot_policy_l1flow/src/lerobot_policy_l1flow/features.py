"""An agent's observations and LeRobot's features of them.

LeRobot calls a robot's numbers ``observation.state`` and its cameras ``observation.images.<name>``, a simulation's only
camera ``observation.image``. The names are those that `l1flow_agents.data` reads and writes data sets by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import Tensor

from l1flow_agents.data.lerobot_columns import IMAGES, OBSERVATION, STATE
from l1flow_agents.data.normalizer import is_image
from l1flow_agents.errors import ObservationError

Boxes = Mapping[str, spaces.Box]


def keys_of_features(boxes: Boxes) -> dict[str, list[str]]:
    """Feature -> the keys of which it is made, one after the other.

    An agent that knows a ``state`` learned from LeRobot's features and has each under its own name. The numbers of all
    others are one state, in the keys' alphabetical order, as `write_lerobot` has them.
    """
    features: dict[str, list[str]] = {}
    for key, box in boxes.items():
        if is_image(box):
            feature = OBSERVATION + key if key == "image" else IMAGES + key
        else:
            feature = OBSERVATION + key if "state" in boxes else STATE
        features.setdefault(feature, []).append(key)
    return features


def described(boxes: Boxes) -> dict[str, dict[str, Any]]:
    """Type and shape of each feature, as LeRobot's ``config.json`` has them; pictures channels first."""
    found: dict[str, dict[str, Any]] = {}
    for feature, keys in keys_of_features(boxes).items():
        box = boxes[keys[0]]
        if is_image(box):
            found[feature] = {"type": "VISUAL", "shape": [box.shape[2], *box.shape[:2]]}
        else:
            kind = "ENV" if feature == "observation.environment_state" else "STATE"
            found[feature] = {"type": kind, "shape": [sum(size_of(boxes[key]) for key in keys)]}
    return found


def size_of(box: spaces.Box) -> int:
    return int(np.prod(box.shape))


def observations_in(batch: Mapping[str, Any], boxes: Boxes) -> dict[str, np.ndarray]:
    """The agent's observations (n, *shape) in a batch of LeRobot's: pictures (n, 3, height, width) from 0 to 1.

    Raises:
        ObservationError: a feature is missing, or not of that kind.
    """
    observations: dict[str, np.ndarray] = {}
    for feature, keys in keys_of_features(boxes).items():
        if not isinstance(batch.get(feature), Tensor):
            given = sorted(name for name in batch if str(name).startswith(OBSERVATION))
            raise ObservationError(f"feature {feature!r} is missing, got {given}; --rename_map gives others its name")
        values = batch[feature].detach().cpu().numpy()
        if is_image(boxes[keys[0]]):
            observations[keys[0]] = pixels(feature, values)
            continue
        sizes = [size_of(boxes[key]) for key in keys]
        if values.ndim != 2 or values.shape[1] != sum(sizes):
            raise ObservationError(f"feature {feature!r}: expected (n, {sum(sizes)}), got {values.shape}")
        columns = np.split(values, np.cumsum(sizes)[:-1], axis=1)
        for key, column in zip(keys, columns, strict=True):
            observations[key] = column.reshape(-1, *boxes[key].shape)
    return observations


def pixels(feature: str, values: np.ndarray) -> np.ndarray:
    """uint8, (n, height, width, 3)."""
    if values.ndim != 4:
        raise ObservationError(f"feature {feature!r}: expected pictures (n, 3, height, width), got {values.shape}")
    if values.dtype != np.uint8:
        if not (values.min() >= 0 and values.max() <= 1):  # nan is neither
            raise ObservationError(
                f"feature {feature!r}: expected pixels from 0 to 1, got {values.min():.3g} to {values.max():.3g}"
            )
        values = np.rint(values * 255).astype(np.uint8)
    return np.moveaxis(values, 1, -1)
