"""Reader of Diffusion Policy's replay-buffer Zarr (format 2 or 3), the format of the human PushT data set."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.data.bounds import check_declared, check_memory
from l1flow_agents.data.episodes import Episodes
from l1flow_agents.data.formats import Format
from l1flow_agents.data.image_cache import cached_images, placeholder
from l1flow_agents.data.zarr_array import LONGEST_METADATA, ZarrArray, look_at
from l1flow_agents.errors import DatasetError

RENAMED = {"img": "image"}


def is_replay_zarr(path: Path) -> bool:
    return (path / "meta").is_dir() and (path / "data").is_dir()


def read_replay_zarr(
    path: str | os.PathLike, keys: Iterable[str] | None = None, cache_dir: str | os.PathLike | None = None
) -> Episodes:
    """Read ``data/*`` and ``meta/episode_ends``.

    Low-dimensional arrays are read into memory as float32. Arrays of four axes are images: they are converted once
    to uint8 in a cache file, chunk by chunk, and memory-mapped from there. Pixels are 0..255, or floats that all lie in
    0..1, which are scaled. ``img`` is called ``image``, and ``agent_pos`` is the first two columns of ``state`` where
    the file itself has no such array (PushT).

    Zarr leaves out chunks that hold nothing but the fill value, and an incomplete copy lacks chunks, too. They cannot
    be told apart in general: rows that are read as the fill value are named in a warning. Refused is what no whole data
    set can be: an array that its group lists is not there, a chunk of episode ends is missing (no end is 0), or most of
    the actions or of the pictures are.

    Args:
        path: the ``.zarr`` folder.
        keys: observation keys wanted; all by default. Images that nobody asks for are never read.
        cache_dir: where converted images go; ``$L1FLOW_CACHE`` or ``~/.cache/l1flow`` by default.

    Raises:
        DatasetError: names the file, the key and the reason.
    """
    episodes, images = _read(Path(path), keys)
    observations = dict(episodes.observations)
    for key, array in images.items():
        observations[key] = cached_images(Path(path), _identity(array), array.shape, _images(array), cache_dir)
    return episodes.with_observations(observations)


def describe_replay_zarr(path: Path) -> dict[str, Any]:
    """What the folder holds, as plain values; images are not read."""
    return {"format": "replay-buffer Zarr", **_read(path, None)[0].summary()}


# ---- inside ---------------------------------------------------------------------------------------------------------


def _read(path: Path, keys: Iterable[str] | None) -> tuple[Episodes, dict[str, ZarrArray]]:
    """The episodes with placeholders for images, and the arrays that these are in."""
    if not path.exists():
        raise DatasetError(f"{path}: no such data set")
    if not is_replay_zarr(path):
        found = sorted(os.listdir(path))[:20] if path.is_dir() else "a file"
        raise DatasetError(f"{path}: expected the groups data/ and meta/, found {found}")
    for part in ("data", "meta"):
        if (path / part).is_symlink():
            raise DatasetError(f"{path}: {part} is a link; only what the folder itself holds is read")
    # Folders, not what Zarr lists: an array with damaged metadata must be found, not skipped.
    names = sorted(entry.name for entry in (path / "data").iterdir() if entry.is_dir())
    _check_listed(path, names)
    stored = {RENAMED.get(name, name): f"data/{name}" for name in names}
    if "action" not in stored:
        raise DatasetError(f"{path}: key 'data/action' is missing, found {sorted(stored.values())}")
    has_state = "state" in stored and len(look_at(path, "data/state").shape) == 2
    derived = {"agent_pos"} if has_state and "agent_pos" not in stored else set()
    available = (set(stored) | derived) - {"action"}
    wanted = available if keys is None else set(keys)
    if missing := wanted - available:
        raise DatasetError(f"{path}: no observation key {sorted(missing)}, found {sorted(available)}")
    ends, actions = look_at(path, "meta/episode_ends"), look_at(path, stored["action"])
    arrays = {key: look_at(path, stored["state" if key in derived else key]) for key in sorted(wanted)}
    images = {key: array for key, array in arrays.items() if len(array.shape) == 4}
    for array in (ends, actions, *arrays.values()):
        _check_complete(array, essential=array in (actions, *images.values()), no_gap=array is ends)
    for array in arrays.values():
        if array.shape[0] != actions.shape[0]:
            raise DatasetError(f"{array.place} has {array.shape[0]} rows, expected {actions.shape[0]} as actions have")
    check_memory(str(path), sum(array.n_bytes for key, array in {**arrays, "": actions}.items() if key not in images))
    observations = {}
    for key, array in arrays.items():
        if key in derived:
            observations[key] = np.ascontiguousarray(array.rows()[:, :2], np.float32)
        elif key in images:
            observations[key] = placeholder(array.shape)
        else:
            observations[key] = array.rows().astype(np.float32)
    joined = actions.rows().astype(np.float32)
    return Episodes(observations, joined, ends.rows(), source=str(path)), images


def _check_listed(path: Path, names: list[str]) -> None:
    """Consolidated metadata, where there are any, say what must be there."""
    listing = path / ".zmetadata"
    if not listing.is_file() or listing.stat().st_size > LONGEST_METADATA:
        return
    try:
        listed = json.loads(listing.read_bytes())["metadata"]
        expected = {key.split("/")[1] for key in listed if key.startswith("data/") and key.endswith("/.zarray")}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: .zmetadata cannot be read ({error!r})") from error
    if missing := sorted(expected - set(names)):
        raise DatasetError(f"{path}: .zmetadata lists {missing} in data/, which are not there; the copy is incomplete")


def _check_complete(array: ZarrArray, essential: bool, no_gap: bool) -> None:
    if not array.n_missing:
        return
    gap = f"{array.place} has {array.n_stored} of {array.n_chunks} chunks"
    if no_gap or not array.fills or (essential and 2 * array.n_missing > array.n_chunks):
        raise DatasetError(f"{gap}; the copy is incomplete")
    check_declared(array.place, array.n_bytes, array.n_stored * array.n_bytes // max(array.n_chunks, 1))
    warnings.warn(
        f"{gap}: the others are read as the fill value, which Zarr does not store; an incomplete copy looks the same",
        stacklevel=2,
    )


def _images(array: ZarrArray) -> Iterator[np.ndarray]:
    """The images as uint8, chunk by chunk."""
    scale = 255 if _is_unit(array) else 1
    for rows in _blocks(array):
        yield _to_uint8(array, array.rows(rows), rows, scale)


def _blocks(array: ZarrArray) -> Iterator[slice]:
    for begin in range(0, array.shape[0], array.chunks[0]):
        yield slice(begin, min(begin + array.chunks[0], array.shape[0]))


def _is_unit(array: ZarrArray) -> bool:
    """Floats of which none exceeds 1. One chunk does not tell: a black frame of 0..255 lies in 0..1, too."""
    return array.dtype.kind == "f" and all(not (array.rows(rows) > 1).any() for rows in _blocks(array))


def _to_uint8(array: ZarrArray, block: np.ndarray, rows: slice, scale: int) -> np.ndarray:
    if block.dtype == np.uint8:
        return block
    if not np.isfinite(block).all() or block.min() < 0 or block.max() > 255:
        raise DatasetError(
            f"{array.place} rows {rows.start}..{rows.stop}: expected pixels in 0..255 or all of them in 0..1, "
            f"found {np.min(block)}..{np.max(block)}"
        )
    return np.asarray(np.rint(block * scale if scale != 1 else block), np.uint8)


def _identity(array: ZarrArray) -> str:
    """Place, shape, type and newest change, so that other data never meet an old cache."""
    folder = array.folder / array.name
    newest = max(entry.stat().st_mtime_ns for entry in os.scandir(folder))
    return f"{array.folder.resolve()} {array.name} {array.shape} {array.dtype} {newest}"


FORMAT = Format("replay-buffer Zarr (data/, meta/)", is_replay_zarr, read_replay_zarr, describe_replay_zarr)
