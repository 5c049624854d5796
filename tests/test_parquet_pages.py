"""Promise: what a Parquet file's pages declare is known before they are read, whatever the file holds."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1flow_agents.data.parquet_pages import MOST_PAGES, pages


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_pages_of_a_column(compression, version):
    table = pa.table({"numbers": np.arange(50_000), "words": ["same"] * 50_000, "lists": [[0.5, 1.5]] * 50_000})
    file = io.BytesIO()
    pq.write_table(table, file, compression=compression, data_page_version=version, data_page_size=4096)
    rows = pq.ParquetFile(file).metadata.row_group(0)
    for column in map(rows.column, range(rows.num_columns)):
        begin = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
        found = list(pages(file, begin, column.total_compressed_size))
        headers = column.total_compressed_size - sum(page.packed for page in found)
        assert sum(page.unpacked for page in found) + headers == column.total_uncompressed_size
    assert len(found) > 5


@given(st.binary(max_size=200))
def test_anything_else_is_no_page(data):
    try:
        assert all(min(page) >= 0 for page in pages(io.BytesIO(data), 0, len(data)))
    except ValueError as error:
        assert "page" in str(error)


@pytest.mark.parametrize(
    "header, reason",
    [
        (b"\x15\x00\x15\x02", "cut off"),
        (b"\x15\x00\x15\x02\x15\x7f\x00", "a page of -64 bytes"),
        (b"\x15\x00\x15\x02\x15\x02\x00", "a page of 1 bytes"),  # which are not there
        (b"\x15" + b"\xff" * 11, "too long a number"),
        (b"\x1c" * 50, "too deep"),
        (b"\x1b\x00", "type 11"),
        (b"\x15\x00\x15\x00\x15\x00\x00" * (MOST_PAGES + 1), f"more than {MOST_PAGES} pages"),
    ],
)
def test_what_is_refused(header, reason):
    with pytest.raises(ValueError, match=reason):
        list(pages(io.BytesIO(header), 0, len(header)))
