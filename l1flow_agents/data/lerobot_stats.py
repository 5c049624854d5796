"""The statistics that a LeRobotDataset carries, by which LeRobot's policies normalise."""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
WIDE = 32  # pixels a side that are looked at of a picture, about


class Statistics:
    """Gathers rows, episode after episode: all numbers, and a few pixels of some pictures."""

    def __init__(self) -> None:
        self._all: dict[str, list[np.ndarray]] = {}
        self._episode: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, rows: np.ndarray) -> None:
        self._episode.setdefault(name, []).append(rows.reshape(len(rows), -1))

    def add_pictures(self, name: str, pictures: np.ndarray) -> None:
        """(n, H, W, 3) uint8."""
        _, height, width, _ = pictures.shape
        self.add(name, pictures[:, :: max(1, height // WIDE), :: max(1, width // WIDE)])

    def of_episode(self) -> dict[str, Any]:
        """Of what was added since the last call, by ``stats/FEATURE/NAME``."""
        told: dict[str, Any] = {}
        for name, parts in self._episode.items():
            self._all.setdefault(name, []).extend(parts)
            told |= {f"stats/{name}/{what}": value for what, value in described(np.concatenate(parts)).items()}
        self._episode = {}
        return told

    def of_all(self) -> dict[str, Any]:
        return {name: described(np.concatenate(parts)) for name, parts in self._all.items()}


def described(rows: np.ndarray) -> dict[str, Any]:
    """Of each column of (n, width) numbers, or of each colour of (n, pixels) uint8."""
    count, is_image = len(rows), rows.dtype == np.uint8
    values = rows.reshape(-1, 3) if is_image else rows
    found = {"min": values.min(axis=0), "max": values.max(axis=0)}
    found |= {"mean": values.mean(axis=0, dtype=np.float64), "std": values.std(axis=0, dtype=np.float64)}
    found |= dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))
    if is_image:
        return {**{name: (one / 255).reshape(3, 1, 1).tolist() for name, one in found.items()}, "count": [count]}
    return {**{name: one.tolist() for name, one in found.items()}, "count": [count]}
