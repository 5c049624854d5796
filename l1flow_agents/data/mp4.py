"""The boxes of an mp4, looked at before FFmpeg sees them: their tables may stand for far more samples than bytes.

A box is a length, a name and what is in it (ISO 14496-12). What LeRobot's recorders and FFmpeg write is let through;
fragments, compressed headers and pictures as items, of which a few bytes can stand for gigabytes, are not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

MOST_SAMPLES = 1 << 22  # frames in a file: 39 hours at 30 a second; FFmpeg keeps 24 bytes of each
MOST_EDITS = 8  # each may repeat all samples
LONGEST_TABLES = 1 << 28  # bytes
WITHIN = {
    b"": b"ftyp moov mdat free skip wide uuid",
    b"moov": b"mvhd trak udta iods free",
    b"trak": b"tkhd edts mdia tref udta load free",
    b"edts": b"elst",
    b"mdia": b"mdhd hdlr minf elng free",
    b"minf": b"vmhd smhd nmhd gmhd hdlr dinf stbl free",
    b"stbl": b"stsd stts ctts stss stsc stsz stco co64 sdtp sgpd sbgp cslg free",
}


def check_mp4(file: BinaryIO) -> None:
    """Raise ValueError where an mp4 could ask for more memory than it shows; the file is at its start afterwards."""
    size = file.seek(0, io.SEEK_END)
    _check(file, size, b"", 0, size)
    file.seek(0)


def _check(file: BinaryIO, size: int, parent: bytes, begin: int, end: int) -> None:
    for name, first, last in _boxes(file, begin, end):
        if name not in WITHIN[parent].split():
            raise ValueError(f"a box {name!r:.20} within {parent.decode() or 'the file'}, which is not read")
        if name == b"moov" and last - first > LONGEST_TABLES:
            raise ValueError(f"tables of {last - first} bytes")
        if name in WITHIN:
            _check(file, size, name, first, last)
        elif name in (b"stsz", b"stts", b"ctts", b"elst"):
            file.seek(first)
            _check_table(size, name, file.read(last - first))


def _check_table(n_bytes: int, name: bytes, table: bytes) -> None:
    if name == b"stsz":  # one size for all, and how many, or a list of sizes
        size, count = struct.unpack(">II", table[4:12])
        if count > MOST_SAMPLES or size * count > n_bytes:
            raise ValueError(f"{count} samples in {n_bytes} bytes")
        return
    (count,) = struct.unpack(">I", table[4:8])
    if name == b"elst":
        if count > MOST_EDITS:
            raise ValueError(f"{count} edits")
        return
    counts = [one for one, _ in struct.iter_unpack(">II", table[8 : 8 + 8 * count])]  # runs of equal durations
    if len(counts) != count or sum(counts) > MOST_SAMPLES:
        raise ValueError(f"durations of {sum(counts)} samples")


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where it begins and ends, of each box between two places."""
    while begin + 8 <= end:
        file.seek(begin)
        length, name = struct.unpack(">I4s", file.read(8))
        first = begin + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            first += 8
        length = length or end - begin  # 0: up to the end
        if length < first - begin or begin + length > end:
            raise ValueError(f"a box {name!r:.20} of {length} bytes where {end - begin} are left")
        yield name, first, begin + length
        begin += length
