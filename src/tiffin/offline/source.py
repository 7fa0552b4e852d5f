"""Reading a table's history: its files, whatever their age and layout, as one lazy frame of canonical columns.

Rows come in the order of path and row number, the last part of the rank (semantics, Rank). Where a value would be lost
on its way into its declared type the query fails, and :meth:`History.collecting` raises what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import msgspec
import polars as pl

from tiffin.definitions.schema import (
    CREATED_TS,
    EVENT_TS,
    INGESTED_AT,
    INGESTED_AT_COLUMN,
    ROW,
    ROW_COLUMN,
    Column,
    Selection,
    TableSchema,
)
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidData, StorageError, Unsupported
from tiffin.offline import lake
from tiffin.offline.columns import INSTANT, Reading, canonical_types, lossy, missing, needed, readings
from tiffin.offline.footers import storage_errors
from tiffin.offline.pruning import bounds, may_hold
from tiffin.offline.runs import AT, Listing, Run
from tiffin.types import ValueType


class History:
    """The rows of one table in the files of one snapshot, checked against the table's schema before they are read."""

    def __init__(self, table: TableSchema, features: Sequence[Column], runs: Sequence[Run]) -> None:
        self.table = table
        self.features = tuple(features)
        self.runs = tuple(runs)

    def scan(self, *, low: int | None = None, high: int | None = None, positions: bool = False) -> pl.LazyFrame:
        """The rows with keys and an event time from ``low`` to ``high`` in UTC microseconds, both inclusive.

        Rows come in the order of path and row number; ``positions`` gives them that number, in the column AT.
        """
        if not self.runs:
            types: dict[str, Any] = canonical_types(self.table, self.features)
            return pl.LazyFrame(schema={AT: pl.get_index_type(), **types} if positions else types)
        frames = [self._canonical(run, low, high, positions=positions) for run in self._placed(positions=positions)]
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")

    def pieces(self, rows: int, *, low: int | None = None, high: int | None = None) -> Iterator[pl.LazyFrame]:
        """As :meth:`scan` with positions, in pieces of at most ``rows`` rows of the files, in order."""
        first = 0
        for run in self.runs:
            # Each file by itself: skipping rows of others would read their footers again for every piece.
            for file in run.files:
                alone = msgspec.structs.replace(run, files=(file,), first=first)
                height = self._height(alone)
                for start in range(0, height, rows):
                    yield self._canonical(alone, low, high, positions=True, piece=(start, rows))
                first += height

    def fetch(self, numbers: pl.Series, names: Sequence[str]) -> pl.LazyFrame:
        """The canonical columns ``names`` of rows by their numbers, with these in AT, in their order."""
        wanted = numbers.alias(AT).to_frame().lazy()
        if not self.runs:
            return self.scan(positions=True).select(AT, *names)
        frames = []
        for run in self._placed(positions=True):
            known = {reading.name: reading for reading in readings(self.table, self.features, run.types)}
            frame = run.scan(positions=True).select(AT, *(known[name].expression() for name in names))
            frames.append(frame.join(wanted, on=AT, how="semi", maintain_order="left"))
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")

    @property
    def rank(self) -> tuple[str, ...]:
        """The columns that rank rows, most significant first; those that are null in all files are left out."""
        held = {name for run in self.runs for name in run.held}
        columns = {CREATED_TS: self.table.created_column, INGESTED_AT: INGESTED_AT_COLUMN, ROW: ROW_COLUMN}
        return (EVENT_TS, *(name for name, raw in columns.items() if raw in held))

    @cached_property
    def rows(self) -> int:
        """How many rows the files hold."""
        return sum(self._heights)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Around the work of a query of this history: what goes wrong in it is raised as one of Tiffin's errors."""
        try:
            with storage_errors(self._where()):
                yield
        except pl.exceptions.InvalidOperationError as error:
            raise self._diagnosis(error) from error

    def _canonical(
        self, run: Run, low: int | None, high: int | None, *, positions: bool, piece: tuple[int, int] | None = None
    ) -> pl.LazyFrame:
        event = self.table.event_column
        if run.low is not None:
            low = run.low if low is None else max(low, run.low)
        frame = run.scan(positions=positions)
        if piece is not None:
            frame = frame.slice(*piece)
        frame = run.counting(frame)
        # First on the raw column, coarser, so that statistics of row groups leave out what lies outside.
        frame = frame.filter(*bounds(event, run.types[event], low, high))
        columns = [reading.expression() for reading in readings(self.table, self.features, run.types)]
        frame = frame.select(*([AT] if positions else []), *columns)
        conditions = [pl.col(name).is_not_null() for name in (*self.table.key_names, EVENT_TS)]
        return frame.filter(*conditions, *bounds(EVENT_TS, INSTANT, low, high))

    @cached_property
    def _heights(self) -> list[int]:
        return [self._height(run) for run in self.runs]

    def _height(self, run: Run) -> int:
        with storage_errors(self._where()):
            return int(run.scan().select(pl.len()).collect().item())

    def _placed(self, *, positions: bool) -> Iterator[Run]:
        """The runs with the numbers of their first rows, which only positions need."""
        if not positions or len(self.runs) == 1:
            yield from self.runs
            return
        first = 0
        for run, height in zip(self.runs, self._heights, strict=True):
            yield msgspec.structs.replace(run, first=first)
            first += height

    def _where(self) -> str:
        return f"{self.table.label()}: a file of {file_source(self.table).file_url!r}"

    def _diagnosis(self, error: pl.exceptions.InvalidOperationError) -> InvalidData:
        """Which value has no reading: the query's own message tells of a flag that overflowed."""
        for run in self.runs:
            for reading in lossy(readings(self.table, self.features, run.types)):
                found = _first_failure(run, reading)
                if found is not None:
                    return InvalidData(
                        f"{self._where()} holds {found!r} for {reading.name!r}: {reading.how.reason}.",
                        field=reading.name,
                        hint="Correct the value, or declare a type that holds it.",
                    )
        return InvalidData(f"{self._where()} cannot be read: {error}", field="field_mapping")


def check_readable(selection: Selection) -> None:
    """Raise what :func:`open_history` would, reading no rows."""
    open_history(selection.table, selection.features, lake.snapshot(file_source(selection.table)))


def open_history(
    table: TableSchema,
    features: Sequence[Column],
    snapshot: lake.LakeSnapshot,
    *,
    files: Sequence[lake.LakeFile] | None = None,
    low: int | None = None,
    high: int | None = None,
) -> History:
    """The history in ``files`` of a snapshot, or all, those left out that hold no event from ``low`` to ``high``.

    InvalidData where no file has a declared column or one has a type that is refused; InvalidDefinition where a
    mapping is no expression. A column that only some files have is null in the others.
    """
    texts = [c.expression for c in (*table.keys, *features) if c.dtype is ValueType.STRING]
    candidates = snapshot.files if files is None else files
    inside = [file for file in candidates if may_hold(file, table.partition_column, low, high)]
    listing = Listing.of(inside, texts)
    types = listing.types()
    absent = needed(table, features, types)[0] - set(types)
    read = {file.path for file in inside}
    for file in snapshot.files:
        if absent and file.path not in read:
            types = Listing.of([file], texts).types() | types
            absent = needed(table, features, types)[0] - set(types)
    types = dict.fromkeys(snapshot.columns or (), pl.Null()) | types
    wanted, optional = needed(table, features, types)
    if snapshot.files and wanted - set(types):
        raise missing(table, wanted - set(types), types, repr(snapshot.uri))
    runs = tuple(listing.runs(sorted(wanted | (optional & set(types))), types))
    for run in runs:
        if run.added.get(table.event_column, (0,))[0] is None:
            raise missing(table, {table.event_column}, run.stored, repr(run.files[0].path))
        readings(table, features, run.types)
    return History(table, features, runs)


def open_source(
    table: TableSchema,
    features: Sequence[Column] | None = None,
    *,
    version: int | None = None,
    known_at: int | None = None,
    low: int | None = None,
    high: int | None = None,
) -> pl.LazyFrame:
    """A table's rows in canonical columns, with ``features`` or all, at a version or as they were known at an instant.

    ``low`` and ``high`` bound the event time, both inclusive, in UTC microseconds.
    """
    snapshot = lake.snapshot(file_source(table), version=version, known_at=known_at)
    wanted = table.features if features is None else features
    return open_history(table, wanted, snapshot, low=low, high=high).scan(low=low, high=high)


def file_source(table: TableSchema) -> FileSource:
    """The table's source, where it is one of files; Unsupported where it is not."""
    if not isinstance(table.source, FileSource):
        raise Unsupported(
            f"{table.label()} has a {type(table.source).__name__}, which this engine cannot read.",
            field="batch_source",
            hint="Choose the engine that belongs to the source.",
        )
    return table.source


def check_unchanged(table: TableSchema, snapshot: lake.LakeSnapshot) -> None:
    """StorageError where files of a plain folder were replaced since the snapshot, so that two looks may disagree."""
    if snapshot.version >= 0:
        return
    now = {file.path: (file.size, file.modified_ns) for file in lake.snapshot(file_source(table)).files}
    for file in snapshot.files:
        if now.get(file.path) != (file.size, file.modified_ns):
            raise StorageError(
                f"{table.label()}: the file {file.path!r} was replaced while it was read.",
                field="file_url",
                hint="Run again; ingest rows instead of replacing files, and no reader is disturbed.",
            )


def _first_failure(run: Run, reading: Reading) -> object | None:
    """The first value without a reading, or the raw columns it is computed from."""
    if reading.how.failed is None:
        return None
    roots = list(dict.fromkeys(reading.how.failed.meta.root_names()))
    rows = run.scan().filter(reading.how.failed).select(roots).head(1).collect()
    if rows.is_empty():
        return None
    row: dict[str, object] = rows.row(0, named=True)
    return row[reading.origin] if roots == [reading.origin] else row
