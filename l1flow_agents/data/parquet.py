"""Parquet files that may be damaged or hostile: what they declare is checked before it is read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from l1flow_agents.data.bounds import check_chunk
from l1flow_agents.data.extras import needed
from l1flow_agents.data.parquet_pages import pages
from l1flow_agents.errors import DatasetError
from l1flow_agents.files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LONGEST_METADATA = 1 << 26  # bytes of a text, or entries of a list, in a footer
LONGEST_TEXT = 4096  # characters that are read of a task
MOST_TEXTS = 64  # of a row


@contextmanager
def opened(path: Path, once: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    """The file, open for reading; whatever is raised inside becomes a DatasetError.

    Args:
        once: columns of bytes or texts, of which equal ones are read once: a few kB may hold them a million times.
    """
    parquet = needed("pyarrow.parquet", "lerobot")
    limits = {"thrift_string_size_limit": LONGEST_METADATA, "thrift_container_size_limit": LONGEST_METADATA}
    try:
        with open_regular(path) as file:
            metadata = parquet.ParquetFile(file, **limits).metadata
            yield parquet.ParquetFile(file, metadata=metadata, read_dictionary=_leaves(metadata, once), **limits)
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; the copy is incomplete") from None
    except Exception as error:  # pyarrow raises many kinds; the readers promise one
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{path}: the file is damaged, truncated or not Parquet ({reason})") from error


def numbers(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Columns of numbers, (n_rows, *shape) a name, in the file's types.

    Raises:
        DatasetError: damaged, a column is missing, or its rows are of another shape.
    """
    with opened(path) as file:
        check_columns(path, file, shapes)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in shapes}
        for group in range(file.num_row_groups):
            n_rows = check_group(path, file, group, {name: math.prod(shape) for name, shape in shapes.items()})
            table = file.read_row_group(group, columns=list(shapes), use_threads=False)
            for name, shape in shapes.items():
                values = _flat(f"{path}: column {name!r}", table.column(name), shape)
                if len(values) != n_rows * math.prod(shape):
                    raise DatasetError(f"{path}: column {name!r}: expected {shape} a row, found rows of other lengths")
                parts[name].append(values.reshape(n_rows, *shape))
        return {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}


def texts(path: Path, name: str) -> list[list[str]]:
    """A column of lists of texts.

    Raises:
        DatasetError: damaged, missing, or something else.
    """
    with opened(path, once=(name,)) as file:
        check_columns(path, file, [name])
        rows: list[list[str]] = []
        for group in range(file.num_row_groups):
            check_group(path, file, group, {name: MOST_TEXTS})
            for part in file.read_row_group(group, columns=[name], use_threads=False).column(name).chunks:
                rows += _lists(f"{path}: column {name!r}", part)
    return rows


def _leaves(metadata: pq.FileMetaData, names: tuple[str, ...]) -> list[str]:
    """Where the bytes of columns are, which may be lists or structs."""
    leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)] if names else []
    return [one.path for one in leaves if one.physical_type == "BYTE_ARRAY" and one.path.split(".list.")[0] in names]


def _lists(where: str, part: pa.Array) -> Iterator[list[str]]:
    """Each row of an array of lists of texts."""
    arrow = needed("pyarrow", "lerobot")
    values = part.flatten() if arrow.types.is_list(part.type) else None
    if not isinstance(values, arrow.DictionaryArray) or values.null_count or part.null_count:
        raise DatasetError(f"{where}: expected lists of texts, found {str(part.type)[:80]}")
    words = [str(word)[:LONGEST_TEXT] for word in values.dictionary.to_pylist()]
    ends, indices = part.offsets.to_pylist(), values.indices.to_pylist()
    for begin, end in itertools.pairwise(ends):
        yield [words[index] for index in indices[begin:end]]


def check_columns(path: Path, file: pq.ParquetFile, names: Any) -> None:
    """Raise DatasetError unless all are there."""
    found = file.schema_arrow.names
    if missing := [name for name in names if name not in found]:
        raise DatasetError(f"{path}: no column {missing}, found {found[:30]}")


def check_group(path: Path, file: pq.ParquetFile, group: int, sizes: Mapping[str, int | None]) -> int:
    """How many rows a row group has; each of the columns declares no more than ``size`` values a row.

    Raises:
        DatasetError: it declares more, or what it unpacks to is too large for one piece.
    """
    declared = file.metadata.row_group(group)
    n_bytes, chosen = 0, []
    for index in range(declared.num_columns):
        column = declared.column(index)
        name = column.path_in_schema
        wanted = next((one for one in sizes if name == one or name.startswith(f"{one}.")), None)
        if wanted is None:
            continue
        size = sizes[wanted]
        chosen.append(column)
        n_bytes += max(0, column.total_uncompressed_size)
        if size is not None:
            n_bytes += 8 * max(0, column.num_values)
            if column.num_values > declared.num_rows * size:
                raise DatasetError(f"{path}: column {wanted!r}: expected {size} values a row, found more")
    check_chunk(f"{path}: row group {group}", n_bytes)
    with open_regular(path) as bytes_of:
        for column in chosen:
            _check_pages(f"{path}: column {column.path_in_schema!r}", bytes_of, column)
    return int(declared.num_rows)


def _check_pages(where: str, file: BinaryIO, column: pq.ColumnChunkMetaData) -> None:
    """Raise DatasetError if the pages unpack to more bytes than the footer says."""
    first = column.dictionary_page_offset if column.has_dictionary_page else None
    begin = min(first or column.data_page_offset, column.data_page_offset)
    unpacked = sum(page.unpacked for page in pages(file, begin, column.total_compressed_size))
    if unpacked > max(0, column.total_uncompressed_size):
        raise DatasetError(
            f"{where}: pages of {unpacked} bytes, expected no more than {column.total_uncompressed_size}"
        )


def _flat(where: str, column: pa.ChunkedArray, shape: tuple[int, ...]) -> np.ndarray:
    """All values of a column of lists inside lists, one after the other."""
    arrow = needed("pyarrow", "lerobot")
    values = column.combine_chunks()
    while not isinstance(values, arrow.Array):  # of several chunks where they exceed 2 GB
        values = arrow.concat_arrays(values.chunks)
    while arrow.types.is_nested(values.type):
        if values.null_count or not hasattr(values, "flatten") or arrow.types.is_struct(values.type):
            raise DatasetError(f"{where}: expected numbers, found {str(column.type)[:80]}")
        values = values.flatten()
    if values.null_count or not _is_number(arrow, values.type):
        raise DatasetError(f"{where}: expected numbers, found {'gaps' if values.null_count else column.type}")
    flat: np.ndarray = values.to_numpy(zero_copy_only=False)
    return flat


def _is_number(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind))
