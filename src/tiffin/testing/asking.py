"""Asking: how tests of offline engines put histories in place and ask for training sets."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import msgspec
import polars as pl
import pytest

from tiffin.control import UNWATCHED
from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.offline.base import OfflineEngine, Window
from tiffin.offline.retrieve import collect, prepare
from tiffin.testing.strategies import MIDNIGHT
from tiffin.types import ValueType, polars_type

HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR
#: A row of a history: key, event, created (both in microseconds) and the value of its feature.
Event = tuple[Any, int | None, int | None, Any]
KnownAt = Literal["row"] | int | None


def day(number: int) -> int:
    """The midnight of a day of September 2026, in microseconds."""
    return MIDNIGHT + (number - 2) * DAY


class Asking(abc.ABC):
    """What an engine's tests share: putting histories in place and asking for training sets."""

    #: Bytes that one join may hold, None for no bound.
    memory_budget: ClassVar[int | None] = None

    @abc.abstractmethod
    def open(self) -> OfflineEngine:
        """The engine under test."""

    @pytest.fixture
    def engine(self) -> Iterator[OfflineEngine]:
        """The engine under test, closed afterwards."""
        engine = self.open()
        yield engine
        engine.close()

    def place(self, folder: Path, table: TableSchema, files: Sequence[pl.DataFrame]) -> TableSchema:
        """Put files of rows where the engine finds them; the table with its source."""
        folder.mkdir(parents=True, exist_ok=True)
        already = len(list(folder.iterdir()))
        for number, rows in enumerate(files, already):
            rows.write_parquet(folder / f"{number:03}.parquet")
        source = msgspec.structs.replace(table.source, file_url=str(folder))
        return msgspec.structs.replace(table, source=source)

    def history(
        self,
        folder: Path,
        *files: Sequence[Event],
        dtype: ValueType = ValueType.INT64,
        name: str = "trips",
        created: bool = True,
        **schema: Any,
    ) -> TableSchema:
        """A table ``trips`` keyed by ``driver`` with the feature ``amount``, one file of rows for each argument."""
        table = TableSchema(
            project="default",
            name=name,
            keys=(Column("driver", ValueType.INT64, "driver"),),
            features=(Column("amount", dtype, "amount"),),
            source=FileSource("event", ParquetFormat(), "nowhere", "created" if created else ""),
            **schema,
        )
        return self.place(folder / name, table, [rows_of(file, dtype, created=created) for file in files])

    def ask(
        self,
        engine: OfflineEngine,
        table: TableSchema,
        rows: Sequence[tuple[Any, int | None]],
        known_at: KnownAt = None,
    ) -> list[Any]:
        """The amounts for rows of driver and instant."""
        return self.join(engine, [table], asking(rows), known_at)[f"{table.name}__amount"].to_list()

    def join(
        self, engine: OfflineEngine, tables: Sequence[TableSchema], entities: pl.DataFrame, known_at: KnownAt = None
    ) -> pl.DataFrame:
        """The training set of all features of tables."""
        selections = [selection_of(table) for table in tables]
        columns = [column for selection in selections for column in selection.output]
        plan, frame = prepare(selections, columns, entities, known_at=known_at)
        return collect(engine, plan, frame, memory_budget=self.memory_budget)

    def newest(self, engine: OfflineEngine, table: TableSchema, window: Window = Window()) -> dict[Any, Any]:  # noqa: B008
        """The amounts of the winners inside a window, by driver; a key that comes twice fails."""
        frames = list(engine.latest(table, window, memory_budget=self.memory_budget, control=UNWATCHED))
        frame = pl.concat(frames)
        assert frame["driver"].is_unique().all()
        return dict(zip(frame["driver"], frame["amount"], strict=True))


def rows_of(events: Sequence[Event], dtype: ValueType, *, created: bool = True) -> pl.DataFrame:
    """A file of rows."""
    instant = pl.Datetime("us", "UTC")
    columns: dict[str, pl.Series] = {
        "driver": pl.Series([event[0] for event in events], dtype=pl.Int64),
        "event": pl.Series([event[1] for event in events], dtype=pl.Int64).cast(instant),
        "created": pl.Series([event[2] for event in events], dtype=pl.Int64).cast(instant),
        "amount": pl.Series([event[3] for event in events], dtype=polars_type(dtype)),
    }
    frame = pl.DataFrame(columns)
    return frame if created else frame.drop("created")


def asking(rows: Sequence[tuple[Any, int | None]], extra: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """An entity source of drivers and instants, with more columns behind."""
    return pl.DataFrame(
        {
            "driver": pl.Series([row[0] for row in rows], dtype=pl.Int64),
            "event_timestamp": pl.Series([row[1] for row in rows], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            **(extra or {}),
        }
    )


def selection_of(table: TableSchema) -> Selection:
    """All features of a table under their usual names."""
    return Selection(table, table.features, tuple(f"{table.name}__{column.name}" for column in table.features))
