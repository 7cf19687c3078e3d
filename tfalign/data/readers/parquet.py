"""Parquet files, a group of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tfalign.data.readers.files import reason_of, regular_file
from tfalign.data.readers.json_lines import Row
from tfalign.data.records import BadFileError

_ROWS = 1024  # in memory at once


def parquet_rows(path: str | os.PathLike) -> Iterator[Row]:
    """Pairs of a place, "file:1" for the first row, and the columns of a row.

    Raises:
        ValueError: without pyarrow (``pip install tfalign[datasets]``).
        BadFileError: if the file is damaged or no Parquet file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"Parquet files need pip install tfalign[datasets]: {error}") from None
    file, number = regular_file(path), 0
    try:
        with file.open("rb") as stream, pyarrow.parquet.ParquetFile(stream) as table:
            for batch in table.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except (pyarrow.ArrowException, OSError) as error:
        reason = (reason_of(error).splitlines() or ["no reason given"])[0]
        raise BadFileError(str(path), f"damaged after row {number}: {reason}") from None
