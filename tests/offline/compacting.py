"""Histories of one table with and without compaction, told by the same steps, which must answer alike at every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import polars as pl
from msgspec.structs import replace

from tests.ingest.lakes import live_files, put
from tiffin import clock
from tiffin.control import UNWATCHED
from tiffin.data_format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.ingest.materialize import Route, materialize_incremental
from tiffin.ingest.push import push
from tiffin.offline import memory, polars
from tiffin.offline.base import OfflineEngine, Position, Window
from tiffin.offline.compact import compact
from tiffin.offline.retrieve import prepare
from tiffin.offline.rewrite import LiveFile, rewrite, rows_of
from tiffin.offline.vacuum import vacuum
from tiffin.online.base import TableId
from tiffin.online.layout import event_time
from tiffin.online.memory import MemoryStore
from tiffin.online.read import ReadPlan
from tiffin.testing.frames import assert_same
from tiffin.types import ValueType

FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES: Final = (Column("a", ValueType.INT64, "a"), Column("b", ValueType.STRING, "b"))
KEYS: Final = 4
DAYS: Final = 5

#: What happens to a table; of the second group the table that is compared with hears nothing.
WRITES: Final = ("ingest", "push", "again", "evolve", "materialise", "remember")
UPKEEP: Final = ("compact", "along the way", "vacuum", "rewrite")


class Told:
    """One table, its online store, and what was asked of it on the way."""

    def __init__(self, home: Path, *, partition: str, plain: int) -> None:
        self.home = home
        self.folder = home / "lake"
        source = FileSource("at", ParquetFormat(), str(self.folder), "made", {}, partition)
        keys = (Column("k", ValueType.INT64, "k"),)
        self.table = TableSchema("demo", "t", keys, FEATURES[:1], source, None, "gone")
        self.store = MemoryStore()
        self.route = Route(polars.open_engine(), self.store)
        self.positions: list[Position] = []
        self.instants: list[int] = []
        self.last: tuple[pl.DataFrame, str] | None = None
        self._plain(plain)

    def _plain(self, files: int) -> None:
        """Files of another program, which the first ingestion adopts."""
        self.folder.mkdir()
        for number in range(files):
            batch(random.Random(number), self.table).write_parquet(self.folder / f"{number}.parquet")

    def step(self, name: str, chance: random.Random) -> None:
        getattr(self, name.replace(" ", "_"))(chance)

    def ingest(self, chance: random.Random) -> None:
        rows, key = batch(chance, self.table), f"{chance.random()}"
        self.last = (rows, key)
        put(self.table, rows, self.home, idempotency_key=key)

    def push(self, chance: random.Random) -> None:
        folders = {"dead_letters": str(self.home / "dead"), "staging": str(self.home / "scratch")}
        push(self.route, self.table, batch(chance, self.table), max_skew=60_000_000, **folders)

    def again(self, _: random.Random) -> None:
        if self.last is not None:
            rows, key = self.last
            assert put(self.table, rows, self.home, idempotency_key=key).already_applied

    def evolve(self, chance: random.Random) -> None:
        self.table = replace(self.table, features=FEATURES)
        self.ingest(chance)

    def materialise(self, _: random.Random) -> None:
        materialize_incremental(self.route, self.table)

    def remember(self, _: random.Random) -> None:
        self.positions.append(self.route.engine.position(self.table))
        self.instants.append(clock.now())

    def compact(self, _: random.Random) -> None:
        if (self.folder / "_delta_log").exists():
            compact(str(self.folder), "at")

    def along_the_way(self, _: random.Random) -> None:
        if (self.folder / "_delta_log").exists():
            compact(str(self.folder), "at", fan=2)

    def vacuum(self, _: random.Random) -> None:
        vacuum(str(self.folder), retention_s=0)

    def rewrite(self, _: random.Random) -> None:
        """As an erasure does, of nobody: each file anew, also those whose rows rank by their place."""

        def change(group: Sequence[LiveFile]) -> Iterable[pl.DataFrame]:
            return [rows_of(str(self.folder), file).collect() for file in group]

        if (self.folder / "_delta_log").exists():
            rewrite(str(self.folder), lambda files: [[file] for file in files], change, kind="erasure")

    def joined(self, engine: OfflineEngine, known_at: int | str | None) -> pl.DataFrame:
        # At an earlier instant a feature that came later is a column that nobody has.
        features = FEATURES[:1] if isinstance(known_at, int) else self.table.features
        selection = Selection(self.table, features, tuple(f"t__{f.name}" for f in features))
        plan, entities = prepare([selection], selection.output, ENTITIES, known_at=known_at)  # type: ignore[arg-type]
        return pl.concat(engine.join(plan, entities, memory_budget=None, control=UNWATCHED))

    def latest(self, engine: OfflineEngine, since: Position | None = None) -> pl.DataFrame:
        window = Window(since=since)
        frames = engine.latest(self.table, window, memory_budget=None, control=UNWATCHED)
        return pl.concat(frames).drop("$ingested_at").sort("k")

    def online(self) -> list[Any]:
        """What a reader of the store finds for each key."""
        features = self.table.features
        plan = ReadPlan(self.store, [Selection(self.table, features, tuple(feature.name for feature in features))])
        found = plan.read({"k": list(range(KEYS))})
        times = {key: event_time(value) for key, value in self.store.scan(TableId("demo", "t"))}
        return [*map(list, found.values), *map(list, found.statuses), times]


ENTITIES: Final = pl.DataFrame(
    {
        "k": [key for key in range(KEYS) for _ in range(DAYS * 2)],
        "event_timestamp": [FIRST + timedelta(hours=12 * n) for _ in range(KEYS) for n in range(DAYS * 2)],
    }
)


def batch(chance: random.Random, table: TableSchema) -> pl.DataFrame:
    """A few rows of few keys at few times, so that many tie."""
    count = chance.randint(1, 6)
    columns: dict[str, Any] = {
        "k": [chance.randrange(KEYS) for _ in range(count)],
        "at": [FIRST + timedelta(days=chance.randrange(DAYS)) for _ in range(count)],
        "made": [chance.choice([None, FIRST, FIRST + timedelta(days=1)]) for _ in range(count)],
        "gone": [chance.random() < 0.2 for _ in range(count)],
    }
    for feature in table.features:
        columns[feature.name] = [str(chance.randrange(99)) if feature.name == "b" else chance.randrange(99)] * count
    whole = {"k": pl.Int64, "a": pl.Int64, "b": pl.String, "gone": pl.Boolean}
    types: dict[str, Any] = {name: whole.get(name, pl.Datetime("us", "UTC")) for name in columns}
    return pl.DataFrame(columns, schema=types)


def agree(steps: Sequence[str], seed: int, *, partition: str = "", plain: int = 0) -> int:
    """Take the steps with one table, those that write with another, and compare all there is to ask; files saved."""
    with TemporaryDirectory() as home:
        (Path(home) / "kept").mkdir()
        (Path(home) / "plain").mkdir()
        kept = Told(Path(home) / "kept", partition=partition, plain=plain)
        other = Told(Path(home) / "plain", partition=partition, plain=plain)
        for number, name in enumerate(steps):
            for told in (kept, other) if name in WRITES else (kept,):
                told.step(name, random.Random(f"{seed} {number}"))
        compare(kept, other)
        for told in (kept, other):
            told.step("materialise", random.Random())
        assert kept.online() == other.online()
        has_log = (other.folder / "_delta_log").exists()
        return len(live_files(other.folder)) - len(live_files(kept.folder)) if has_log else 0


def compare(kept: Told, other: Told) -> None:
    if not any(other.folder.rglob("*.parquet")):
        return  # a source without a file has no columns
    reference = memory.open_engine()
    for engine in (reference, polars.open_engine()):
        for ours, theirs in zip([None, "row", *kept.instants], [None, "row", *other.instants], strict=True):
            assert_same(kept.joined(engine, ours), other.joined(reference, theirs))
        for mine, its in zip([None, *kept.positions], [None, *other.positions], strict=True):
            assert_same(kept.latest(engine, mine), other.latest(reference, its))
            assert engine.commits_since(kept.table, mine) == reference.commits_since(other.table, its)
