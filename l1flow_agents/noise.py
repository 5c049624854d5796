"""The noise of plans: a stream for every pair of seed and number, each a function of the two alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np


class _Thread(threading.local):
    """One generator a thread, set to the begin of a stream when that is drawn from: making one costs more than a plan's
    noise.
    """

    def __init__(self) -> None:
        self.bits = np.random.Philox(0)
        self.generator = np.random.Generator(self.bits)
        self.start = self.bits.state


_here = _Thread()


def standard_normal(shape: tuple[int, ...], seeds: Iterable[int], numbers: Iterable[int]) -> np.ndarray:
    """(n, *shape) float32; row i is what ``Generator(Philox(key=(seeds[i], numbers[i])))`` draws first."""
    rows = []
    for key in zip(seeds, numbers, strict=True):
        _here.start["state"]["key"] = np.array(key, np.uint64)
        _here.bits.state = _here.start
        rows.append(_here.generator.standard_normal(shape, np.float32))
    return np.stack(rows)
