"""Generated histories through ingestion, held against the same rows as plain files and the reference engine."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from msgspec.structs import replace

from tests.ingest.lakes import live_files, put
from tiffin.control import UNWATCHED
from tiffin.data_format import ParquetFormat
from tiffin.data_source import FileSource
from tiffin.definitions.schema import TableSchema
from tiffin.offline import memory, polars
from tiffin.offline.base import OfflineEngine, Window
from tiffin.offline.retrieve import prepare
from tiffin.testing.frames import assert_same
from tiffin.testing.offline import selection_of
from tiffin.testing.strategies import Case, stamped


def placed(table: TableSchema, folder: Path, partition: str = "") -> TableSchema:
    """The table in a folder."""
    source = FileSource("event", ParquetFormat(), str(folder), table.source.created_timestamp_column, {}, partition)
    return replace(table, source=source)


def joined(engine: OfflineEngine, table: TableSchema, case: Case) -> pl.DataFrame:
    """The training set for the case's entity rows."""
    selection = selection_of(table)
    plan, entities = prepare([selection], selection.output, case.entities)
    return pl.concat(engine.join(plan, entities, memory_budget=None, control=UNWATCHED))


def latest(engine: OfflineEngine, table: TableSchema) -> pl.DataFrame:
    """The newest row of every key."""
    frames = engine.latest(table, Window(), memory_budget=None, control=UNWATCHED)
    return pl.concat(frames).drop("$ingested_at").sort(*table.key_names)


def agree(case: Case, seed: int) -> int:
    """Ingest a case's files as batches, some twice under one key, and compare; how many rows were set aside."""
    chance = random.Random(seed)
    rejected = 0
    with TemporaryDirectory() as home:
        table = placed(case.schema, Path(home) / "lake", chance.choice(["", "day"]))
        plain = placed(case.schema, Path(home) / "plain")
        (Path(home) / "plain").mkdir()
        keys = [pl.col(column.name).is_not_null() for column in case.schema.keys]
        for number, rows in enumerate(case.files):
            source = rows if chance.random() < 0.5 else rows.iter_slices(chance.choice([7, 50]))
            options = {"on_invalid": "quarantine", "idempotency_key": f"batch {number}"}
            commit = put(table, source, Path(home), **options)
            rejected += commit.rejected
            if chance.random() < 0.5:
                assert put(table, rows, Path(home), **options).rows == commit.rows
            good = rows.filter(*keys, pl.col("event").is_not_null())
            assert (commit.rows, commit.rejected) == (good.height, rows.height - good.height)
            stamped(good, number).write_parquet(Path(home) / f"plain/{number}.parquet")
        if live_files(Path(home) / "lake"):
            expected = joined(memory.open_engine(), plain, case)
            for engine in (memory.open_engine(), polars.open_engine()):
                assert_same(joined(engine, table, case), expected)
                assert_same(latest(engine, table), latest(memory.open_engine(), plain))
    return rejected
