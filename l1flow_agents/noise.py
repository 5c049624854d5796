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
    seeds = list(seeds)
    rows = np.empty((len(seeds), *shape), np.float32)
    key = _here.start["state"]["key"]
    for row, seed, number in zip(rows, seeds, numbers, strict=True):
        key[0], key[1] = seed, number
        _here.bits.state = _here.start
        _here.generator.standard_normal(out=row, dtype=np.float32)
    return rows
