"""The videos of a LeRobotDataset: the episodes of one camera after each other, each from a key frame on."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.data.extras import needed
from l1flow_agents.data.lerobot_layout import CHUNK, PATHS
from l1flow_agents.errors import DatasetError

OPTIONS = {"g": "2", "crf": "18", "preset": "medium", "bf": "0"}  # a key frame is never further than one frame away


class VideoWriter:
    """Files of H.264 for one feature; a new one where the last has ``largest`` bytes."""

    def __init__(self, folder: Path, name: str, size: tuple[int, int], fps: float, largest: int) -> None:
        if size[0] % 2 or size[1] % 2:
            raise DatasetError(f"{name}: H.264 takes pictures of even height and width, found {size}; PNG takes all")
        self.folder, self.name, self.size, self.fps, self.largest = folder, name, size, fps, largest
        self._av = needed("av", "lerobot")
        self._rate = Fraction(fps).limit_denominator(1000)
        self._number, self._frames = -1, 0
        self._container: Any = None

    def episode(self, pictures: Iterable[np.ndarray]) -> dict[str, Any]:
        """Write the pictures (H, W, 3) of one; says where they are."""
        if self._container is None or self._path.stat().st_size >= self.largest:
            self._next()
        first = self._frames
        for picture in pictures:
            frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            frame.pict_type = self._av.video.frame.PictureType.I if self._frames == first else frame.pict_type
            self._container.mux(self._stream.encode(frame))
            self._frames += 1
        chunk, file = divmod(self._number, CHUNK)
        begin, end = first / self.fps, self._frames / self.fps
        told = {"chunk_index": chunk, "file_index": file, "from_timestamp": begin, "to_timestamp": end}
        return {f"videos/{self.name}/{what}": value for what, value in told.items()}

    def described(self) -> dict[str, Any]:
        return {
            "video.height": self.size[0],
            "video.width": self.size[1],
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": int(self.fps),
            "video.channels": 3,
            "has_audio": False,
        }

    def close(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None

    def _next(self) -> None:
        self.close()
        self._number, self._frames = self._number + 1, 0
        chunk, file = divmod(self._number, CHUNK)
        template = PATHS["v3.0"]["video_path"]
        self._path = self.folder / template.format(video_key=self.name, chunk_index=chunk, file_index=file)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self._path), "w")
        self._stream = self._container.add_stream("libx264", self._rate, OPTIONS)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt, self._stream.codec_context.thread_count = "yuv420p", 1
