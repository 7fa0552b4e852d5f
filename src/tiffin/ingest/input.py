"""What a caller may give as rows: frames, streams of Arrow, and files; each becomes a stream of Polars frames.

Nothing is held that need not be: files and streams of any size pass through in frames of about FRAME_ROWS rows.
pandas and pyarrow are never imported: whoever hands over their objects has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidArgument, InvalidData
from tiffin.ingest.files import read_files
from tiffin.ingest.text import Given

#: How many rows a frame has at most.
FRAME_ROWS: Final = 1 << 17

_ACCEPTED: Final = (
    "Give a pandas, Polars or Arrow frame, an iterator of Arrow batches, or a path, glob or URI of Parquet, CSV or "
    "JSON lines."
)


def frames_of(source: Any, table: TableSchema) -> Iterator[Given]:
    """The rows of a source in order, in frames of at most FRAME_ROWS rows.

    InvalidArgument where the source is nothing that holds rows; InvalidData where its content cannot be read.
    """
    given: Iterable[Given]
    if isinstance(source, Given):
        given = (source,)
    else:
        given = read_files(str(source), table) if isinstance(source, str | Path) else map(Given, _frames(source))
    for frame, texts in given:
        for part in frame.iter_slices(FRAME_ROWS):
            yield Given(part, texts)


def _frames(source: Any) -> Iterator[pl.DataFrame]:
    if isinstance(source, pl.DataFrame):
        return iter([source])
    if isinstance(source, pl.LazyFrame):
        return _collected(source)
    if _is_pandas(source):
        return _from_pandas(source)
    if isinstance(source, dict | bytes | bytearray | pl.Series):
        raise _no_rows(source)
    if hasattr(source, "__arrow_c_stream__"):
        return _from_stream(source)
    if hasattr(source, "__arrow_c_array__"):
        return iter([_from_arrow(source)])
    if isinstance(source, Iterable):
        return _from_items(source)
    raise _no_rows(source)


def _no_rows(source: Any) -> InvalidArgument:
    return InvalidArgument(f"A {type(source).__name__} holds no rows to ingest.", field="source", hint=_ACCEPTED)


def _collected(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    with _readable("the lazy frame"):
        yield from frame.collect_batches(chunk_size=FRAME_ROWS, maintain_order=True)


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "iloc") and source.ndim == 2


def _from_pandas(frame: Any) -> Iterator[pl.DataFrame]:
    """The columns of a pandas frame, its index left out. NaN in a numpy column is pandas' null."""
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InvalidData(
            f"The columns of the frame must be distinct texts, got {names!r}.",
            field="source",
            hint="Rename them, and give an index that matters a name with reset_index().",
        )
    for start in range(0, max(len(frame), 1), FRAME_ROWS):
        part = frame.iloc[start : start + FRAME_ROWS]
        with _readable("the pandas frame"):
            yield pl.DataFrame([_pandas_column(name, part[name]) for name in names])


def _pandas_column(name: str, column: Any) -> pl.Series:
    numpy = type(column.dtype).__module__.partition(".")[0] == "numpy"
    try:
        series: pl.Series = pl.from_pandas(column, nan_to_null=numpy)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:  # Arrow's own are of these kinds
        raise InvalidData(
            f"Column {name!r} of the pandas frame mixes types or has one that cannot be stored: {error}.",
            field=name,
            hint="Give it one type of numbers, texts, instants or lists, or leave it out.",
        ) from error
    return series.alias(name)


def _from_stream(source: Any) -> Iterator[pl.DataFrame]:
    """The batches of an Arrow stream, one by one."""
    from arro3.core import RecordBatchReader

    try:
        reader = RecordBatchReader.from_arrow(source)
    except (TypeError, ValueError):  # an array of numbers, not of rows
        raise _no_rows(source) from None
    with _readable("the Arrow stream"):
        for batch in reader:
            yield pl.DataFrame(batch)


def _from_arrow(batch: Any) -> pl.DataFrame:
    with _readable("the Arrow batch"):
        return pl.DataFrame(batch)


def _from_items(items: Iterable[Any]) -> Iterator[pl.DataFrame]:
    for item in items:
        if isinstance(item, str | Path | dict) or not _holds_rows(item):
            raise InvalidArgument(
                f"An iterator of {type(item).__name__} holds no rows to ingest.", field="source", hint=_ACCEPTED
            )
        yield from _frames(item)


def _holds_rows(item: Any) -> bool:
    arrow = hasattr(item, "__arrow_c_stream__") or hasattr(item, "__arrow_c_array__")
    return arrow or isinstance(item, pl.DataFrame | pl.LazyFrame) or _is_pandas(item)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # it panics at Arrow types it lacks
        raise InvalidData(
            f"{what[0].upper()}{what[1:]} cannot be read: {error}.",
            field="source",
            hint="Give each column a name of its own and a type of numbers, texts, instants or lists.",
        ) from error
