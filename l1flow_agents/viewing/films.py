"""Films inside a page: few enough pixels, frames and bytes that the page stays small."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from l1flow_agents.video import write_video

LARGEST_SIDE, SMALLEST_SIDE = 256, 192  # pixels; H.264 blurs the colours of what is smaller
MOST_FRAMES = 300  # of a film; of a longer episode every second frame, or third
BUDGET = 9_000_000  # bytes of all films, a third more in the page


class Films:
    """Makes films and counts their bytes; those that the page has no room for are None, and counted."""

    def __init__(self) -> None:
        self.left, self.left_out = BUDGET, 0

    def of(self, pictures: np.ndarray, begin: int, end: int, fps: float) -> str | None:
        """Rows ``begin`` to ``end`` of pictures (n_steps, H, W, 1 or 3) as a ``data:`` URL of mp4, ``fps`` rows a s."""
        if self.left <= 0:
            self.left_out += 1
            return None
        stride = -(-(end - begin) // MOST_FRAMES)
        with tempfile.TemporaryDirectory() as folder:
            path = write_video(Path(folder, "film.mp4"), _frames(pictures, range(begin, end, stride)), fps / stride)
            film = self.embedded(path.read_bytes())
        if film is None:
            self.left = 0  # the next ones are not even encoded
        return film

    def embedded(self, film: bytes) -> str | None:
        """A ``data:`` URL of an mp4 file."""
        if len(film) > self.left:
            self.left_out += 1
            return None
        self.left -= len(film)
        return f"data:video/mp4;base64,{base64.b64encode(film).decode()}"


def _frames(pictures: np.ndarray, rows: range) -> Iterator[np.ndarray]:
    """One after the other: an episode of pictures may be larger than memory."""
    for row in rows:
        picture = np.asarray(pictures[row])
        yield resized(np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture)


def resized(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with a longer side between the bounds."""
    height, width = picture.shape[:2]
    side = max(height, width)
    if side < SMALLEST_SIDE:
        times = -(-SMALLEST_SIDE // side)
        return np.repeat(np.repeat(picture, times, axis=0), times, axis=1)
    if side <= LARGEST_SIDE:
        return picture
    size = (max(2, width * LARGEST_SIDE // side), max(2, height * LARGEST_SIDE // side))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
