"""Sizes that the pages of a Parquet column declare; readers take as much memory before they look at the bytes.

A page is a header, in Thrift's compact protocol, and as many bytes as that says. Of a header only the sizes are kept:
https://github.com/apache/parquet-format, ``PageHeader``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

LONGEST_HEADER = 1 << 16  # bytes; statistics may lie in it
MOST_PAGES = 1 << 16  # of a column in a row group
DEEPEST = 8  # structures in structures
UNPACKED, PACKED = 2, 3  # fields of a header

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)


class Page(NamedTuple):
    """Bytes as they are in the file and as they are unpacked."""

    packed: int
    unpacked: int


def pages(file: BinaryIO, begin: int, n_bytes: int) -> Iterator[Page]:
    """The pages between two places of a file.

    Raises:
        ValueError: there is something else.
    """
    at, end = begin, begin + n_bytes
    for _ in range(MOST_PAGES):
        if at >= end:
            return
        file.seek(at)
        header = Header(file.read(min(LONGEST_HEADER, end - at)))
        sizes = header.numbers()
        page = Page(sizes.get(PACKED, -1), sizes.get(UNPACKED, -1))
        if min(page) < 0 or at + header.at + page.packed > end:
            raise ValueError(f"a page of {page.packed} bytes, {page.unpacked} unpacked")
        yield page
        at += header.at + page.packed
    raise ValueError(f"more than {MOST_PAGES} pages")


class Header:
    """A structure in Thrift's compact protocol, read from ``at`` on."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def numbers(self) -> dict[int, int]:
        """Its whole numbers by field; all else is passed over."""
        found = {}
        for field, kind in self._fields():
            if kind in (I16, I32, I64):
                found[field] = self._number()
            else:
                self._pass(kind, 0)
        return found

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and kind of each field, whose value is to be read before the next; not of those that are all kind."""
        field = 0
        while (first := self._byte()) != STOP:
            kind, step = first & 15, first >> 4
            field = field + step if step else self._number()
            if kind not in (TRUE, FALSE):
                yield field, kind

    def _pass(self, kind: int, depth: int) -> None:
        """Go behind a value."""
        if kind in (TRUE, FALSE, BYTE):
            self._byte()
        elif kind in (I16, I32, I64):
            self._varint()
        elif kind == DOUBLE:
            self._skip(struct.calcsize("d"))
        elif kind == BINARY:
            self._skip(self._varint())
        elif depth >= DEEPEST:
            raise ValueError("a page's header is too deep")
        elif kind in (LIST, SET):
            first = self._byte()
            for _ in range(self._varint() if first >> 4 == 15 else first >> 4):
                self._pass(first & 15, depth + 1)
        elif kind == STRUCT:
            for _, kind_of_field in self._fields():
                self._pass(kind_of_field, depth + 1)
        else:
            raise ValueError(f"a page's header holds type {kind}")

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _skip(self, n: int) -> None:
        self.at += n
        if self.at > len(self._data):
            raise ValueError("a page's header is cut off, or too long")

    def _varint(self) -> int:
        """Seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a page's header holds too long a number")

    def _number(self) -> int:
        """With its sign in the lowest bit."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
