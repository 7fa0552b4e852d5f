"""The store that wrong calls are made against, and the side door through which it is compared before and after."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tiffin import Client, Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.definitions.expectation import Between
from tiffin.errors import TiffinError

#: What the registry remembers of definitions. Jobs are left out: a failed job may well be recorded.
TABLES = ("registry_version", "projects", "objects", "revisions")


def at(day: int, **more: int) -> datetime:
    return datetime(2024, 9, day, tzinfo=UTC) + timedelta(**more)


def batch(**columns: object) -> pl.DataFrame:
    """Two good rows of ``trips``, with columns replaced; one replaced by None is left out."""
    good: dict[str, object] = {
        "driver_id": [1001, 1002],
        "rating": [4.5, 3.5],
        "rides": [10, 7],
        "event_timestamp": [at(5), at(5)],
        "created_timestamp": [at(5), at(5)],
    }
    return pl.DataFrame({name: column for name, column in (good | columns).items() if column is not None})


def asked(**columns: object) -> pl.DataFrame:
    """One good row of a question, with columns replaced; one replaced by None is left out."""
    good: dict[str, object] = {"driver_id": [1001], "event_timestamp": [at(6)]}
    return pl.DataFrame({name: column for name, column in (good | columns).items() if column is not None})


def source(folder: Path, name: str, **options: object) -> FileSource:
    return FileSource(
        event_timestamp_column="event_timestamp",
        created_timestamp_column="created_timestamp",
        file_format=ParquetFormat(),
        file_url=str(folder / name),
        **options,
    )


@dataclass
class World:
    """A client, its folder, and a folder of files that are wrong in some way."""

    client: Client
    folder: Path
    files: Path

    def trips(self, **changes: object) -> FeatureTable:
        """The registered table, with changes."""
        features = [Feature("rating", ValueType.FLOAT), Feature("rides", ValueType.INT32)]
        good: dict[str, object] = {
            "name": "trips",
            "entities": ["driver_id"],
            "features": features,
            "batch_source": source(self.folder, "trips", date_partition_column="date"),
            "expectations": [Between("rating", 0, 5)],
        }
        return FeatureTable(**(good | changes))

    def everything(self) -> dict[str, object]:
        """All that a call could have changed, read without Tiffin: rows of the registry, bytes of every other file."""
        seen: dict[str, object] = {}
        database = sqlite3.connect(f"file:{self.folder / 'registry.db'}?mode=ro", uri=True)
        for table in TABLES:
            rows = database.execute(f"SELECT * FROM {table}").fetchall()
            seen[table] = sorted(map(repr, rows))
        database.close()
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder).as_posix()
            # the database was read above, and LMDB's lock file holds the table of readers
            if path.is_file() and not inside.startswith("registry.db") and path.name != "lock.mdb":
                seen[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
        return seen


class Wrong(NamedTuple):
    """A wrong call, the error that it must raise, and words that the error must say."""

    name: str
    call: Callable[[World], object]
    error: type[TiffinError]
    says: tuple[str, ...]


def build(folder: Path, files: Path) -> World:
    """A store with a history, online rows, an archived project, and some files that nobody can read."""
    client = Client(home=str(folder))
    world = World(client, folder, files)
    client.apply(
        [
            Entity("driver_id", "a driver", ValueType.INT64),
            Entity("city", "a city", ValueType.STRING),
            world.trips(),
            FeatureTable("demand", ["driver_id", "city"], [Feature("minutes", ValueType.DOUBLE)]),
            # demand__x:y and demand:x__y would be one column
            FeatureTable("a__b", ["driver_id"], [Feature("c", ValueType.INT64)]),
            FeatureTable("a", ["driver_id"], [Feature("b__c", ValueType.INT64)]),
            FeatureService("matching", ["trips:rating", "trips:rides"]),
        ]
    )
    client.apply(Entity("rider", value_type=ValueType.STRING), project="old")
    client.archive_project("old")
    client.ingest("trips", batch(event_timestamp=[at(1), at(1)]), idempotency_key="first")
    client.materialize_incremental("trips")
    files.mkdir()
    good = files / "good.parquet"
    batch().write_parquet(good)
    whole = good.read_bytes()
    (files / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (files / "text.parquet").write_text("driver_id,rating\n1,2\n")
    (files / "empty.parquet").write_bytes(b"")
    (files / "short.csv").write_text("driver_id,event_timestamp\n1001,2024-09-05T00:00:00Z\n")
    (files / "notes.xlsx").write_bytes(b"PK")
    (files / "bad.yaml").write_text("kind: Entity\nspec:\n  name: x\n  valueTyp: INT64\n")
    return world
