"""One Zarr array (format 2 or 3) of a folder that may be damaged or hostile: looked at before Zarr reads it.

Zarr does what an array's metadata say: run Python's pickle, allocate any shape, follow links. So only plain arrays of
numbers with the usual compressors are read, and every chunk must unpack to just the size that its array declares.
"""

from __future__ import annotations

import bz2
import json
import lzma
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from l1flow_agents.data.bounds import check_chunk
from l1flow_agents.errors import DatasetError

LONGEST_METADATA = 1 << 20  # bytes
MOST_CHUNKS = 1 << 20  # that an array may leave out: Zarr looks for each
COMPRESSORS = ("blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma")
STREAMS = {
    "zlib": zlib.decompressobj,
    "gzip": lambda: zlib.decompressobj(31),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}


@dataclass(frozen=True)
class ZarrArray:
    """What the metadata of ``folder/name`` say, checked.

    ``fills`` is False where a chunk that is not there has no value.
    """

    folder: Path
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    compressor: str | None
    n_stored: int
    fills: bool

    @property
    def place(self) -> str:
        return f"{self.folder}: key {self.name!r}"

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def n_chunks(self) -> int:
        return math.prod(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def n_missing(self) -> int:
        return self.n_chunks - self.n_stored

    def rows(self, rows: slice = slice(None)) -> np.ndarray:
        """These rows; all by default.

        Raises:
            DatasetError: damaged.
        """
        try:
            return np.asarray(zarr.open_array(str(self.folder / self.name), mode="r")[rows])
        except Exception as error:  # zarr raises many kinds; the reader promises one
            where = f" in rows {rows.start}..{rows.stop}" if rows.stop is not None else ""
            raise DatasetError(f"{self.place} is damaged{where} ({' '.join(str(error).split())})") from error


def look_at(folder: Path, name: str) -> ZarrArray:
    """The array ``name`` of the Zarr folder, and its chunks, checked; nothing is unpacked but to be measured.

    Raises:
        DatasetError: missing, damaged, a kind of array that demonstrations have no need of, or not safe to read.
    """
    where, path = f"{folder}: key {name!r}", folder / name
    if not path.is_dir():
        raise DatasetError(f"{where} is missing or not an array")
    found = [kind for kind in (".zarray", "zarr.json") if (path / kind).is_file()]
    if not found:
        raise DatasetError(f"{where} is missing or not an array: it has no metadata")
    metadata = _metadata(where, path / found[0])
    try:
        read = _format_2(metadata) if found[0] == ".zarray" else _format_3(metadata)
        shape, chunks = _sizes(metadata["shape"], 0), _sizes(read["chunks"], 1)
        if len(shape) != len(chunks):
            raise ValueError(f"{len(shape)} axes in chunks of {len(chunks)}")
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{where} has unreadable metadata ({error!r})") from error
    n_bytes = math.prod(chunks) * read["dtype"].itemsize
    check_chunk(where, n_bytes)
    n_stored = _check_chunks(where, path, read["compressor"], n_bytes, read["extra"])
    array = ZarrArray(folder, name, shape, chunks, read["dtype"], read["compressor"], n_stored, read["fills"])
    if n_stored > array.n_chunks or array.n_missing > MOST_CHUNKS:
        raise DatasetError(f"{where} has {n_stored} of {array.n_chunks} chunks; the copy is incomplete")
    return array


# ---- metadata -------------------------------------------------------------------------------------------------------


def _metadata(where: str, path: Path) -> dict[str, Any]:
    for one in (path, path.with_name(".zattrs")):
        if one.exists() and (one.is_symlink() or not one.is_file() or one.stat().st_size > LONGEST_METADATA):
            raise DatasetError(f"{where}: {one.name} must be a file of at most {LONGEST_METADATA} bytes")
    try:
        metadata = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DatasetError(f"{where} has unreadable metadata ({error})") from error
    if not isinstance(metadata, dict):
        raise DatasetError(f"{where} has unreadable metadata (no JSON object)")
    return metadata


def _sizes(given: Any, least: int) -> tuple[int, ...]:
    sizes = tuple(given)
    if not 1 <= len(sizes) <= 8 or not all(type(one) is int and least <= one < 2**48 for one in sizes):
        raise ValueError(f"sizes {str(given)[:80]}")
    return sizes


def _dtype(text: Any, pattern: str) -> np.dtype:
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise DatasetError(f"expected numbers, found values of type {str(text)[:80]}")
    return np.dtype(text)


def _format_2(metadata: Mapping[str, Any]) -> dict[str, Any]:
    compressor = metadata["compressor"]
    if metadata.get("filters"):
        raise DatasetError(f"expected no filters, found {str(metadata['filters'])[:80]}")
    return {
        "chunks": metadata["chunks"],
        "dtype": _dtype(metadata["dtype"], r"[<>|](b1|[iu][1248]|f[248])"),
        "compressor": None if compressor is None else _known(compressor["id"]),
        "fills": metadata["fill_value"] is not None,
        "extra": 0,
    }


def _format_3(metadata: Mapping[str, Any]) -> dict[str, Any]:
    if metadata.get("storage_transformers"):
        raise DatasetError("expected no storage transformers")
    if metadata["node_type"] != "array" or metadata["chunk_grid"]["name"] != "regular":
        raise DatasetError("expected an array in a regular grid of chunks")
    names = [one["name"] for one in metadata["codecs"]]
    packing = [one for one in names if one not in ("transpose", "bytes", "crc32c")]
    if len(packing) > 1 or names.count("bytes") != 1 or names.count("crc32c") > 1:
        raise DatasetError(f"expected at most one compressor and no shards, found codecs {str(names)[:80]}")
    if "crc32c" in names and names[-1] != "crc32c":
        raise DatasetError(f"expected the checksum at the end, found codecs {names}")
    return {
        "chunks": metadata["chunk_grid"]["configuration"]["chunk_shape"],
        "dtype": _dtype(metadata["data_type"], r"bool|u?int(8|16|32|64)|float(16|32|64)"),
        "compressor": _known(packing[0]) if packing else None,
        "fills": True,
        "extra": 4 * names.count("crc32c"),
    }


def _known(name: Any) -> str:
    if name not in COMPRESSORS:
        raise DatasetError(f"expected a compressor of {', '.join(COMPRESSORS)}, or none, found {str(name)[:80]!r}")
    return str(name)


# ---- chunks ---------------------------------------------------------------------------------------------------------


def _check_chunks(where: str, path: Path, compressor: str | None, n_bytes: int, extra: int) -> int:
    """How many chunks there are; each must be a file of the folder itself, and unpack to ``n_bytes``."""
    n_stored = 0
    for folder, inner, files in os.walk(path):
        for name in [*inner, *files]:
            if os.path.islink(os.path.join(folder, name)):
                raise DatasetError(f"{where}: {name} is a link; only what the folder itself holds is read")
        for name in files:
            if not name.startswith(".") and name != "zarr.json":
                chunk = Path(folder, name)
                key = chunk.relative_to(path).as_posix()
                if not chunk.is_file():
                    raise DatasetError(f"{where}: chunk {key} is not a regular file")
                _check_chunk(f"{where} is damaged: chunk {key}", chunk, compressor, n_bytes, extra)
                n_stored += 1
    return n_stored


def _check_chunk(what: str, chunk: Path, compressor: str | None, n_bytes: int, extra: int) -> None:
    size = chunk.stat().st_size - extra
    with open(chunk, "rb") as file:
        if compressor in STREAMS:
            promised = _unpacked(what, file.read(size), STREAMS[compressor](), n_bytes)
        elif compressor is None:
            promised = size
        else:
            head = file.read(18)
            if compressor == "blosc" and int.from_bytes(head[12:16], "little") != size:  # it reads past a cut end
                said = int.from_bytes(head[12:16], "little")
                raise DatasetError(f"{what} has {size} bytes, its header says {said}")
            promised = {"blosc": _blosc, "lz4": _lz4, "zstd": _zstd}[compressor](head)
    if promised != n_bytes:
        raise DatasetError(f"{what} unpacks to {promised} bytes, expected {n_bytes}")


def _unpacked(what: str, packed: bytes, stream: Any, limit: int) -> int:
    """The length of what is packed, or where ``limit`` was passed; never more than a block in memory."""
    total, block = 0, 1 << 20
    try:
        rest = packed
        while not stream.eof and total <= limit:
            unpacked = stream.decompress(rest, block)
            rest = getattr(stream, "unconsumed_tail", b"")
            total += len(unpacked)
            if not unpacked and not rest and not stream.eof:
                raise ValueError("it ends too early")
    except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DatasetError(f"{what} cannot be unpacked ({error})") from None
    return total


def _blosc(head: bytes) -> int:
    return int.from_bytes(head[4:8], "little")


def _lz4(head: bytes) -> int:
    return int.from_bytes(head[:4], "little")


def _zstd(head: bytes) -> int:
    """The length that a frame's header declares (RFC 8878, 3.1.1.1); -1 where it has none."""
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return -1
    flags = head[4]
    single, width = bool(flags & 0x20), (0, 2, 4, 8)[flags >> 6]
    width = width or single
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    length = int.from_bytes(head[start : start + width], "little") if width else -1
    return length + 256 if width == 2 else length
