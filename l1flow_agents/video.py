"""Rollout videos: one file an episode or a grid of them, written with ffmpeg through imageio."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import imageio
import numpy as np
from PIL import Image, ImageDraw

from l1flow_agents.files import replacing

GREEN, RED, PLAN = (60, 170, 75), (205, 70, 60), (235, 110, 30)
BORDER = 6  # pixels, in the colour of the outcome
HOLD = 0.7  # seconds that the last frame stays


class VideoRecorder:
    """Collects the frames of chosen episodes while `evaluate` runs, and writes mp4 files.

    A frame gets a green or red border once its episode is over (held for a moment). Files are written under a
    temporary name and renamed.

    Args:
        folder: where files go: ``episode_<seed>.mp4``, or ``episodes.mp4`` for a grid.
        episodes: indices of the episodes to film, 0-based; the first four by default.
        grid: one film with all of them side by side.
        overlay: draw the plan that is being executed, where the environment can say where actions lie
            (``action_to_pixel``).
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        episodes: Iterable[int] = range(4),
        grid: bool = False,
        overlay: bool = False,
    ) -> None:
        self.folder, self.episodes = Path(folder), frozenset(episodes)
        self.grid, self.overlay = grid, overlay
        self.paths: list[Path] = []
        self._films: dict[int, list[np.ndarray]] = {}
        self._done: dict[int, list[np.ndarray]] = {}

    def add(self, episode: int, frames: list[np.ndarray]) -> None:
        """Append frames (H, W, 3) uint8 to an episode's film."""
        self._films.setdefault(episode, []).extend(frames)

    def end(self, episode: int, seed: int, success: bool, fps: float) -> None:
        """The episode is over; write its film, or keep it for the grid."""
        frames = self._films.pop(episode, [])
        if not frames:
            return
        frames += [framed(frames[-1], GREEN if success else RED)] * round(HOLD * fps)
        if self.grid:
            self._done[episode] = frames
        else:
            self.paths.append(write_video(self.folder / f"episode_{seed}.mp4", frames, fps))

    def close(self, fps: float) -> None:
        """Write the grid, if one was asked for."""
        if self._done:
            films = [self._done[episode] for episode in sorted(self._done)]
            self.paths.append(write_video(self.folder / "episodes.mp4", side_by_side(films), fps))
            self._done = {}


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """H.264 mp4 of uint8 frames (H, W, 3), all of one size; odd sides lose a row or column."""
    options: dict[str, Any] = {"codec": "libx264", "quality": 7, "macro_block_size": 2, "ffmpeg_log_level": "error"}
    # closing(): imageio's own context leaves ffmpeg running where an error ends the block
    with replacing(path) as temporary, closing(imageio.get_writer(temporary, fps=fps, **options)) as writer:
        for frame in frames:
            writer.append_data(frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2])
    return path


def side_by_side(films: list[list[np.ndarray]]) -> list[np.ndarray]:
    """One film of films in a near-square grid; a film that is over stays on its last frame."""
    columns = math.ceil(math.sqrt(len(films)))
    blank = np.full_like(films[0][0], 255)
    frames = []
    for k in range(max(map(len, films))):
        tiles = [film[min(k, len(film) - 1)] for film in films]
        tiles += [blank] * (-len(tiles) % columns)
        rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
        frames.append(np.concatenate(rows, axis=0))
    return frames


def framed(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy with a coloured border."""
    frame = frame.copy()
    for edge in (frame[:BORDER], frame[-BORDER:], frame[:, :BORDER], frame[:, -BORDER:]):
        edge[:] = colour
    return frame


def draw_path(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy with a line through ``points`` (n, 2) as x, y pixels and a dot at each, larger at the next one."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    path = [(float(x), float(y)) for x, y in points]
    if len(path) > 1:
        draw.line(path, fill=PLAN, width=2)
    for k, (x, y) in enumerate(path):
        radius = 5 if k == 0 else 2.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=PLAN)
    return np.asarray(picture)
