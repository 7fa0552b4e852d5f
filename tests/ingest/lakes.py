"""What the tests of ingestion share: a table, batches for it, and a look at the files that trusts nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tiffin.commit import Commit
from tiffin.data_format import ParquetFormat
from tiffin.definitions.expectation import AnyExpectation
from tiffin.definitions.schema import Column, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.ingest.batch import ingest
from tiffin.types import ValueType

DAY = datetime(2026, 9, 1, tzinfo=UTC)

FEATURES = (
    Column("acc_rate", ValueType.FLOAT, "acc_rate"),
    Column("trips", ValueType.INT32, "trips"),
)


def drivers(
    folder: Path | str,
    *,
    features: Sequence[Column] = FEATURES,
    partition: str = "event_date",
    created: str = "created",
    expectations: Sequence[AnyExpectation] = (),
    deleted: str = "",
    keys: Sequence[Column] = (Column("driver_id", ValueType.INT64, "driver_id"),),
    file_format: Any = None,
) -> TableSchema:
    """The table of the examples, in a folder."""
    source = FileSource("datetime", file_format or ParquetFormat(), str(folder), created, {}, partition)
    return TableSchema("demo", "drivers", tuple(keys), tuple(features), source, None, deleted, tuple(expectations))


def rows(count: int = 3, *, first: int = 0, **columns: Any) -> pl.DataFrame:
    """Rows of the table: keys from 1001, an event every ten hours."""
    numbers = range(first, first + count)
    plain = {
        "driver_id": [1001 + n for n in numbers],
        "datetime": [DAY + timedelta(hours=10 * n) for n in numbers],
        "created": [DAY + timedelta(hours=10 * n, minutes=1) for n in numbers],
        "acc_rate": [n / 4 for n in numbers],
        "trips": list(numbers),
    }
    return pl.DataFrame(plain | columns)


def put(table: TableSchema, source: Any, home: Path, **options: Any) -> Commit:
    """Ingest with the folders of a test."""
    return ingest(table, source, dead_letters=str(home / "dead"), staging=str(home / "scratch"), **options)


def log(folder: Path) -> list[list[dict[str, Any]]]:
    """The actions of every version, read from the JSON of the log itself."""
    return [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((folder / "_delta_log").glob("*.json"))
    ]


def live_files(folder: Path) -> list[Path]:
    """The files that the log says are there: added and not removed."""
    paths: dict[str, None] = {}
    for actions in log(folder):
        for action in actions:
            if "add" in action:
                paths[action["add"]["path"]] = None
            if "remove" in action:
                paths.pop(action["remove"]["path"], None)
    return [folder / path for path in paths]


def stored(folder: Path) -> pl.DataFrame:
    """All committed rows, each file read by itself, in order of commit and position."""
    frames = [pl.read_parquet(path, hive_partitioning=False) for path in live_files(folder)]
    if not frames:
        return pl.DataFrame()
    whole = pl.concat(frames, how="diagonal_relaxed")
    return whole.sort("_ingested_at", "_row") if "_row" in whole.columns else whole


def data_files(folder: Path) -> list[Path]:
    """Every Parquet file below a folder that a reader of the bare folder sees."""
    return [
        path
        for path in folder.rglob("*.parquet")
        if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    ]
