"""Images that are decoded where somebody asks for them: a data set of them may be larger than memory and disk."""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from l1flow_agents.data.bounds import check_memory

CACHE_SHARE = 8  # of memory, an eighth goes to decoded images of a data set


def cache_bytes() -> int:
    """Memory that the decoded images of one data set may take."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // CACHE_SHARE


class LazyImages(ABC):
    """An array (n_steps, H, W, 3) uint8 of which only the rows that are asked for are ever decoded.

    It is indexed by rows as an array is: a number, a slice, an array of any shape. What was decoded last is kept.

    Args:
        source: where the images are from, for messages.
        shape: (n_steps, H, W, 3).
        kept: bytes of decoded images to keep.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, source: str, shape: tuple[int, ...], kept: int) -> None:
        self.source, self.shape = source, shape
        self._most = max(1, kept // math.prod(shape[1:]))
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._rows = np.arange(shape[0])
        self._lock = threading.Lock()  # a training gathers windows in a thread of its own

    @abstractmethod
    def decode(self, rows: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """At least these rows, which increase, each with its image; also what had to be decoded on the way.

        Raises:
            DatasetError: damaged, or not of the declared size.
        """

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = self._rows[index]
        wanted, places = np.unique(rows, return_inverse=True)
        images = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        with self._lock:
            place_of = {row: place for place, row in enumerate(wanted.tolist())}
            missing = []
            for row, place in place_of.items():
                if row in self._kept:
                    images[place] = self._kept[row]
                    self._kept.move_to_end(row)
                else:
                    missing.append(row)
            for row, image in self.decode(missing) if missing else ():
                if row in place_of:
                    images[place_of[row]] = image
                self._kept[row] = image
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        found: np.ndarray = images[places.reshape(rows.shape)]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        check_memory(self.source, self.size)
        whole: np.ndarray = self[:].astype(dtype or np.uint8, copy=False)
        return whole

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)
