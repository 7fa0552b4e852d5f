"""Data files: a batch's rows, cut by date into Parquet files, with the statistics that prune them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import polars as pl

from tiffin.control import Control
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN
from tiffin.offline.area import Area, Part
from tiffin.offline.layout import INSTANT, fit
from tiffin.offline.location import HIVE_NULL

#: How many bytes of rows (in memory) go to files at once: what bounds an ingestion's memory.
CHUNK_BYTES: Final = 128 << 20
#: Texts longer than this get no statistics.
_STATISTICS_CHARS: Final = 32


class Batch(NamedTuple):
    """A valid batch. ``frames`` gives its rows in order, again and again, with ``columns`` in their stored types.

    ``declared`` are the columns whose types are declared, ``indexed`` those that get statistics. ``event`` is the
    column of event times and ``partition`` that of event dates, derived here; empty for none. ``admit`` is told the
    table's fence of erasures (see ``fence.py``) before rows are taken, and says which one it knows: ``frames`` leaves
    out what was erased up to there.
    """

    frames: Callable[[], Iterator[pl.DataFrame]]
    columns: dict[str, pl.DataType]
    declared: frozenset[str]
    indexed: tuple[str, ...]
    event: str
    partition: str
    admit: Callable[[int], int] | None = None


class Shape(NamedTuple):
    """How a table takes a batch: the types its files get, and the columns that are folders, in order.

    ``logged`` are those of the folders whose values live in the log and not in the files.
    """

    columns: dict[str, pl.DataType]
    folders: tuple[str, ...]
    logged: tuple[str, ...]


def write_parts(area: Area, batch: Batch, shape: Shape, stamp: int, control: Control) -> list[Part]:
    """Write a batch's files into the staging area, all rows with the instant ``stamp``."""
    parts: list[Part] = []
    done = 0
    for chunk in _chunks(batch.frames()):
        control.check()
        rows = _shaped(chunk, batch, shape).with_columns(
            pl.lit(stamp).cast(INSTANT).alias(INGESTED_AT_COLUMN),
            pl.int_range(done, done + chunk.height, dtype=pl.Int64).alias(ROW_COLUMN),
        )
        for folders, values in _divided(rows, shape):
            path = f"{folders}part-{area.token}-{len(parts)}.parquet"
            parts.append(_write(area, values[1], path, values[0], batch))
        done += chunk.height
        control.progress(done)
    return parts


def _chunks(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    size = 0
    for frame in frames:
        held.append(frame)
        size += int(frame.estimated_size())
        if size >= CHUNK_BYTES:
            yield pl.concat(held)
            held, size = [], 0
    if held:
        yield pl.concat(held)


def _shaped(rows: pl.DataFrame, batch: Batch, shape: Shape) -> pl.DataFrame:
    """The rows in the types of the table, the event date as a text beside them."""
    columns = [fit(rows[name], dtype) for name, dtype in shape.columns.items() if name in rows.columns]
    shaped = pl.DataFrame(columns)
    if batch.partition and (batch.partition in shape.folders or batch.partition in shape.columns):
        day = rows[batch.event].dt.date()
        into = shape.columns.get(batch.partition, pl.Date())
        shaped = shaped.with_columns((day if isinstance(into, pl.Date) else day.cast(pl.String)).alias(batch.partition))
    return shaped


def _divided(rows: pl.DataFrame, shape: Shape) -> Iterator[tuple[str, tuple[dict[str, str | None], pl.DataFrame]]]:
    """The rows by folder: (folder with a trailing slash, (the log's partition values, rows))."""
    if not shape.folders:
        yield "", ({}, rows)
        return
    missing = [pl.lit(None, pl.String).alias(name) for name in shape.folders if name not in rows.columns]
    rows = rows.with_columns(missing)
    extra = [name for name in shape.folders if name in shape.logged or name not in shape.columns]
    for key, part in rows.partition_by(shape.folders, as_dict=True, maintain_order=True).items():
        values = {name: None if v is None else str(v) for name, v in zip(shape.folders, key, strict=True)}
        folder = "".join(f"{n}={HIVE_NULL if v is None else quote(v, safe=' ')}/" for n, v in values.items())
        yield folder, ({n: values[n] for n in shape.logged}, part.drop(extra))


def _write(area: Area, rows: pl.DataFrame, path: str, partition: dict[str, str | None], batch: Batch) -> Part:
    content = io.BytesIO()
    rows.write_parquet(content, compression="zstd", compression_level=1)
    view = content.getbuffer()
    area.save(view, path)
    return Part(path, len(view), rows.height, partition, statistics(rows, batch.indexed))


def statistics(rows: pl.DataFrame, indexed: Iterable[str]) -> str:
    """Numbers of rows and nulls, least and greatest values of columns that are there, as the log writes them."""
    names = [n for n in dict.fromkeys((*indexed, INGESTED_AT_COLUMN, ROW_COLUMN)) if n in rows.columns]
    low, high = rows.select(pl.col(names).min()).row(0), rows.select(pl.col(names).max()).row(0)
    bounds = [(n, _plain(a), _plain(b)) for n, a, b in zip(names, low, high, strict=True)]
    known = [(n, a, b) for n, a, b in bounds if a is not None and b is not None]
    return json.dumps(
        {
            "numRecords": rows.height,
            "minValues": {n: a for n, a, _ in known},
            "maxValues": {n: b for n, _, b in known},
            "nullCount": {n: rows[n].null_count() for n in names},
        }
    )


def _plain(value: Any) -> int | str | None:
    if isinstance(value, bool | bytes):
        return None
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, str):
        return value if len(value) <= _STATISTICS_CHARS else None
    return value if isinstance(value, int) else None
