"""Reader of Diffusion Policy's replay-buffer Zarr (format 2), the format of the human PushT data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import zarr

from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.image_cache import cached_images
from l1flow_agents.errors import DatasetError

RENAMED = {"img": "image"}


def is_replay_zarr(path: Path) -> bool:
    return (path / "meta").is_dir() and (path / "data").is_dir()


def read_replay_zarr(
    path: str | os.PathLike, keys: Iterable[str] | None = None, cache_dir: str | os.PathLike | None = None
) -> Episodes:
    """Read ``data/*`` and ``meta/episode_ends``.

    Low-dimensional arrays are read into memory as float32. Arrays of four axes are images: they are converted once
    to uint8 in a cache file, chunk by chunk, and memory-mapped from there. ``img`` is called ``image``, and
    ``agent_pos`` is the first two columns of ``state`` where the file itself has no such array (PushT).

    Args:
        path: the ``.zarr`` folder.
        keys: observation keys wanted; all by default. Images that nobody asks for are never read.
        cache_dir: where converted images go; ``$L1FLOW_CACHE`` or ``~/.cache/l1flow`` by default.

    Raises:
        DatasetError: names the file, the key and the reason.
    """
    path = Path(path)
    root = _open(path)
    if not is_replay_zarr(path):
        raise DatasetError(f"{path}: expected the groups data/ and meta/, found {sorted(os.listdir(path))}")
    ends = _read(path, root, "meta/episode_ends").astype(np.int64)
    # Folders, not what Zarr lists: an array with damaged metadata must be found, not skipped.
    names = sorted(entry.name for entry in (path / "data").iterdir() if entry.is_dir())
    stored = {RENAMED.get(name, name): f"data/{name}" for name in names}
    if "action" not in stored:
        raise DatasetError(f"{path}: key 'data/action' is missing, found {sorted(stored.values())}")
    derived = {"agent_pos"} if "state" in stored and "agent_pos" not in stored else set()
    available = (set(stored) | derived) - {"action"}
    wanted = available if keys is None else set(keys)
    if missing := wanted - available:
        raise DatasetError(f"{path}: no observation key {sorted(missing)}, found {sorted(available)}")
    observations = {}
    for key in sorted(wanted):
        if key in derived:
            observations[key] = np.ascontiguousarray(_read(path, root, "data/state")[:, :2], np.float32)
        elif (array := _array(path, root, stored[key])).ndim == 4:
            identity, images = _identity(path, stored[key], array), _images(path, stored[key], array)
            observations[key] = cached_images(path, identity, array.shape, images, cache_dir)
        else:
            observations[key] = _rows(path, stored[key], array, slice(None)).astype(np.float32)
    actions = _read(path, root, stored["action"]).astype(np.float32)
    return Episodes(observations, actions, ends, source=str(path))


def _open(path: Path) -> zarr.Group:
    if not path.exists():
        raise DatasetError(f"{path}: no such data set")
    try:
        root = zarr.open_group(str(path), mode="r")
    except Exception as error:  # zarr raises many kinds; the reader promises one
        raise DatasetError(f"{path}: not a readable Zarr group ({error})") from error
    return root


def _array(path: Path, root: zarr.Group, name: str) -> zarr.Array:
    try:
        array = root.get(name)
    except Exception as error:
        raise DatasetError(f"{path}: key {name!r} has unreadable metadata ({error})") from error
    if not isinstance(array, zarr.Array):
        raise DatasetError(f"{path}: key {name!r} is missing or not an array")
    # Zarr fills a missing chunk with zeros without a word; a demonstration must not.
    if array.nchunks_initialized != array.nchunks:
        raise DatasetError(
            f"{path}: key {name!r} has {array.nchunks_initialized} of {array.nchunks} chunks; the copy is incomplete"
        )
    _check_blosc_lengths(path, name, array)
    return array


def _check_blosc_lengths(path: Path, name: str, array: zarr.Array) -> None:
    """Blosc reads past the end of a cut chunk and may return garbage; bytes 12..16 of its header hold the length."""
    compressor = getattr(array.metadata, "compressor", None)
    if getattr(compressor, "codec_id", None) != "blosc":
        return
    for chunk in (path / name).iterdir():
        if chunk.is_file() and not chunk.name.startswith("."):
            with open(chunk, "rb") as file:
                promised, size = int.from_bytes(file.read(16)[12:], "little"), chunk.stat().st_size
            if size != promised:
                raise DatasetError(
                    f"{path}: key {name!r} is damaged: chunk {chunk.name} has {size} bytes, its header says {promised}"
                )


def _read(path: Path, root: zarr.Group, name: str) -> np.ndarray:
    return _rows(path, name, _array(path, root, name), slice(None))


def _rows(path: Path, name: str, array: zarr.Array, rows: slice) -> np.ndarray:
    try:
        return np.asarray(array[rows])
    except Exception as error:
        raise DatasetError(f"{path}: key {name!r} is damaged in rows {rows.start}..{rows.stop} ({error})") from error


def _images(path: Path, name: str, array: zarr.Array) -> Iterator[np.ndarray]:
    """The images as uint8, chunk by chunk."""
    for begin in range(0, array.shape[0], array.chunks[0]):
        rows = slice(begin, min(begin + array.chunks[0], array.shape[0]))
        yield _to_uint8(path, name, _rows(path, name, array, rows), rows)


def _to_uint8(path: Path, name: str, block: np.ndarray, rows: slice) -> np.ndarray:
    if block.dtype == np.uint8:
        return block
    if not np.isfinite(block).all() or block.min() < 0 or block.max() > 255:
        raise DatasetError(
            f"{path}: key {name!r} rows {rows.start}..{rows.stop}: expected pixels in 0..255, "
            f"found {np.min(block)}..{np.max(block)}"
        )
    return np.rint(block).astype(np.uint8)


def _identity(path: Path, name: str, array: zarr.Array) -> str:
    """Place, shape and newest change, so that other data never meet an old cache."""
    newest = max(entry.stat().st_mtime_ns for entry in os.scandir(path / name))
    return f"{path.resolve()} {name} {array.shape} {newest}"
