"""Images of a data set as one memory-mapped array, so that they need not fit into memory."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from l1flow_agents.data.bounds import check_disk
from l1flow_agents.files import cache_folder, replacing


def cached_images(
    path: Path,
    identity: str,
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
    cache_dir: str | os.PathLike | None = None,
) -> np.ndarray:
    """A uint8 memory map of the images, converted on the first call and renamed into place when whole.

    Args:
        path: the data set.
        identity: a text that changes whenever the images do.
        shape: (n_steps, H, W, C).
        blocks: uint8 arrays (n, H, W, C), together all images in order; consumed only where there is no cache yet.
        cache_dir: where the cache lies; ``$L1FLOW_CACHE`` or ``~/.cache/l1flow`` by default.

    Raises:
        DatasetError: the disk has no room for them.
    """
    folder = Path(cache_dir or cache_folder())
    target = folder / f"{path.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        check_disk(str(path), math.prod(shape), folder)
        with replacing(target) as temporary:
            create = np.lib.format.open_memmap
            images = create(temporary, "w+", np.uint8, shape)  # type: ignore[no-untyped-call]  # numpy 1 says no types
            row = 0
            for block in blocks:
                images[row : row + len(block)] = block
                row += len(block)
            images.flush()
            del images
    mapped: np.ndarray = np.load(target, mmap_mode="r")
    return mapped


def placeholder(shape: tuple[int, ...]) -> np.ndarray:
    """Black images that take no memory, where only their shape is asked for."""
    return np.broadcast_to(np.uint8(0), shape)
