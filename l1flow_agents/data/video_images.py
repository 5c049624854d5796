"""Frames of AV1 or H.264 videos as lazy images, decoded by PyAV from the key frame before the one that is asked for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.data.extras import needed
from l1flow_agents.data.lazy_images import LazyImages
from l1flow_agents.data.mp4 import check_mp4
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import open_regular

OPEN = 8  # videos at a time
NEAR = 16  # frames: what lies no further ahead is decoded towards, what does is jumped to
TOLERANCE = 0.1  # of a frame, by which times may differ


class VideoImages(LazyImages):
    """The rows of some videos.

    Args:
        files: the videos.
        file_of_row: (n_steps,) in which of them a row lies; does not decrease.
        seconds: (n_steps,) where in its video it lies.
        fps: rows a second.
    """

    def __init__(
        self,
        source: str,
        shape: tuple[int, ...],
        kept: int,
        files: Sequence[Path],
        file_of_row: np.ndarray,
        seconds: np.ndarray,
        fps: float,
    ) -> None:
        super().__init__(source, shape, kept)
        self._files, self._file_of_row, self._seconds, self._fps = files, file_of_row, seconds, fps
        self._open: OrderedDict[int, _Video] = OrderedDict()

    def decode(self, rows: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number, group in groupby(rows, lambda row: int(self._file_of_row[row])):
            yield from self._decode_file(number, list(group))

    def _decode_file(self, number: int, rows: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        first, last = np.searchsorted(self._file_of_row, [number, number + 1])
        order = first + np.argsort(self._seconds[first:last], kind="stable")
        times = self._seconds[order]
        tolerance = TOLERANCE / self._fps
        video = self._video(number)
        found = set()
        for row in sorted(rows, key=lambda one: float(self._seconds[one])):
            if row in found:
                continue
            for second, image in video.until(float(self._seconds[row]), tolerance, NEAR / self._fps):
                begin, end = np.searchsorted(times, [second - tolerance, second + tolerance])
                for one in order[begin:end].tolist():
                    found.add(one)
                    yield one, image
            if row not in found:
                raise DatasetError(f"{video.path}: no frame at {self._seconds[row]:.4f} s; the copy is incomplete")

    def _video(self, number: int) -> _Video:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[number] = video = _Video(self._files[number], (self.shape[1], self.shape[2]))
        return video


class _Video:
    """One open video, and how far it is decoded."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path, self.size = path, size
        self._av = needed("av", "lerobot")
        self._second = math.inf  # of the frame that was decoded last
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror or error}; the copy is incomplete") from None
        try:
            check_mp4(self._file)
            self._container = self._av.open(self._file, format="mp4", metadata_errors="replace")
            self._stream = self._container.streams.video[0]
            found = self._stream.codec_context
            if (found.height, found.width) != size:
                raise DatasetError(f"{path}: expected pictures {size}, found {(found.height, found.width)}")
            found.options = {"max_pixels": str(math.prod(size) + 128 * sum(size) + 128**2)}  # with the codec's padding
            found.thread_count = 1
            self._step = float(self._stream.time_base)
        except Exception as error:
            self.close()
            raise self._refused(error) from error

    def until(self, second: float, tolerance: float, near: float) -> Iterator[tuple[float, np.ndarray]]:
        """The frames up to the one at ``second``, from where the video stands or from the key frame before it."""
        try:
            if not self._second + tolerance < second <= self._second + near:
                self._container.seek(int((second + tolerance) / self._step), stream=self._stream)
                self._frames = self._container.decode(self._stream)
            for frame in self._frames:
                if (frame.height, frame.width) != self.size:
                    raise DatasetError(f"{self.path}: expected pictures {self.size}, found {frame.height, frame.width}")
                self._second = frame.pts * self._step
                yield self._second, frame.to_ndarray(format="rgb24")
                if self._second >= second - tolerance:
                    return
            self._second = math.inf  # at its end
        except GeneratorExit:
            raise
        except Exception as error:  # FFmpeg's errors are of many kinds
            self._second = math.inf
            raise self._refused(error) from error

    def close(self) -> None:
        for name in ("_container", "_file"):
            with suppress(Exception):
                getattr(self, name).close()

    def _refused(self, error: Exception) -> DatasetError:
        if isinstance(error, DatasetError):
            return error
        reason: Any = " ".join(str(error).split())[:200]
        return DatasetError(f"{self.path}: the video is damaged or no mp4 ({reason})")
