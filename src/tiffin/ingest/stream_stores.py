"""The stores of a stream: the rows of a batch into the history and online, or online alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import polars as pl

from tiffin import clock
from tiffin.definitions.schema import EVENT_TS, INGESTED_AT_COLUMN, RANK, ROW_COLUMN, TableSchema
from tiffin.ingest import marks
from tiffin.ingest.batch import target_of
from tiffin.ingest.erased import Guard
from tiffin.ingest.materialize import Route, write_frames
from tiffin.ingest.online_only import canonical, ranked
from tiffin.ingest.push import UNSETTLED
from tiffin.ingest.repair import finish_pushes
from tiffin.ingest.stream_columns import Feed
from tiffin.ingest.stream_letters import Spans
from tiffin.ingest.stream_offsets import StreamLog
from tiffin.ingest.stream_rows import AT, Readable
from tiffin.offline.asof import latest_of_keys
from tiffin.offline.base import Position
from tiffin.offline.commit_log import PUSH
from tiffin.offline.lake import with_rows
from tiffin.offline.layout import INSTANT
from tiffin.offline.parts import Batch
from tiffin.online.base import Marks, WriteResult
from tiffin.stream.base import NO_TIMESTAMP

_MICROSECONDS: Final = 1e6
#: So many commits of others are looked at to see whether they have arrived online; of more it is not known.
_FEW: Final = 64


class Stores(Protocol):
    """Where the rows of one table's stream go."""

    @property
    def extra(self) -> tuple[str, ...]:
        """The columns that rows are to have beside the declared ones."""
        ...

    def offsets(self, partitions: Iterable[str]) -> dict[str, int]:
        """Finish what a crash cut off, and tell up to which offsets messages are stored, of partitions that have one.

        What was written by others until then counts: without this look, :meth:`write` is refused.
        """
        ...

    def write(self, batch: Readable, spans: Spans) -> WriteResult:
        """Store the rows of a batch and, where it is kept, the offsets that it ends at.

        OffsetsMoved where another member of the group stored messages after the last look.
        """
        ...


class BothStores:
    """The history first, with the offsets; then online what was committed, under the rank that it has there."""

    def __init__(self, route: Route, table: TableSchema, group: str) -> None:
        self._route = route
        self._table = table
        self._log = StreamLog(target_of(table), group)
        self._stored: dict[str, int | None] = {}
        self._log.reload()

    @property
    def extra(self) -> tuple[str, ...]:
        return self._log.folders

    def offsets(self, partitions: Iterable[str]) -> dict[str, int]:
        self._log.reload()
        finish_pushes(self._route, self._table)
        found = self._log.offsets(partitions)
        self._stored.update(found)
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def write(self, batch: Readable, spans: Spans) -> WriteResult:
        rows = batch.rows
        if not rows.rows and not self._log.exists:
            return WriteResult()  # nothing makes a table of it: the group's own offsets tell
        guard = Guard(self._table, self._route.erased)
        done = self._log.append(
            Batch(
                frames=lambda: guard.stored(rows.frames()),
                columns=rows.columns,
                declared=batch.validator.declared,
                indexed=batch.validator.indexed,
                event=self._table.event_column,
                partition=self._table.partition_column,
                admit=guard.admit,
            ),
            {name: (self._stored.get(name), end) for name, (_, end) in spans.items()},
        )
        self._stored.update({name: end for name, (_, end) in spans.items()})
        metrics = self._route.metrics
        metrics.written(self._table, done.rows, store="offline")
        frames = ranked(self._table, guard.stored(rows.frames()), done.ingested_at)
        result = _write_latest(self._route, self._table, frames, self._log.identity)
        if isinstance(self._route.store, Marks):
            self._tell(Position(self._log.identity, done.version))
        self._route.tend(self._table, done.version)
        return result

    def _tell(self, at: Position) -> None:
        """Tell the table's mark that a commit has arrived online.

        The next materialisation need not look at it where all that was committed before has arrived, too.
        """
        store, table = self._route.store, self._table
        mark = marks.read(store, table)
        seen = None if mark is None else mark.position
        moves = mark is not None and seen is not None and mark.covers(table) and self._follows(mark, seen, at)
        if (
            mark is not None
            and moves
            and marks.advance(store, table, mark, marks.reached(table, at, mark.pending_from))
        ):
            return
        looked = mark is not None and self._follows(mark, mark.looked or Position(at.identity), at)
        told = marks.settle(store, table, at.identity, [at.version], looked=at if looked else None)
        if len(told.beyond) > UNSETTLED:
            finish_pushes(self._route, table)

    def _follows(self, mark: marks.Mark, seen: Position, at: Position) -> bool:
        """Whether all commits between two positions have arrived online, or brought no rows."""
        if seen.identity != at.identity or at.version - seen.version > _FEW:
            return False
        known = mark.arrived(at.identity)
        entries = self._log.entries(seen.version + 1, at.version - 1)
        return entries is not None and all(
            not with_rows(entry) or (PUSH in entry and known.holds(int(entry["version"]))) for entry in entries
        )


class OnlineOnly:
    """Online alone. The rank is made of the message itself, so that one that comes again changes nothing."""

    extra: Final = (AT,)

    def __init__(self, route: Route, feed: Feed) -> None:
        self._route = route
        self._table = feed.table
        self._read_as = feed.as_read

    def offsets(self, partitions: Iterable[str]) -> dict[str, int]:
        del partitions  # the broker alone knows
        return {}

    def write(self, batch: Readable, spans: Spans) -> WriteResult:
        del spans
        stamps = pl.Series(
            [None if m.timestamp == NO_TIMESTAMP else m.timestamp for m in batch.messages], dtype=pl.Int64
        )
        offsets = pl.Series([message.offset for message in batch.messages], dtype=pl.Int64)
        frames = (
            canonical(
                self._read_as,
                frame.drop(AT).with_columns(
                    stamps.gather(frame[AT]).cast(INSTANT).alias(INGESTED_AT_COLUMN),
                    offsets.gather(frame[AT]).alias(ROW_COLUMN),
                ),
            )
            for frame in batch.rows.frames()
        )
        identity = self._route.engine.position(self._table).identity
        return _write_latest(self._route, self._table, frames, identity, online_only=True)


def _write_latest(
    route: Route, table: TableSchema, frames: Iterator[pl.DataFrame], identity: str, *, online_only: bool = False
) -> WriteResult:
    """Write the latest row of each key; the others of a batch count as skipped."""
    given = 0
    oldest: int | None = None

    def latest() -> Iterator[pl.DataFrame]:
        nonlocal given, oldest
        for frame in frames:
            if frame.is_empty():
                continue
            given += frame.height
            first = int(frame[EVENT_TS].to_physical().min())  # type: ignore[arg-type]  # never null once validated
            oldest = first if oldest is None else min(oldest, first)
            yield latest_of_keys(frame, table.key_names, RANK)

    done = write_frames(route, table, latest(), identity, online_only=online_only)
    surpassed = given - done.written - done.skipped - done.erased
    route.metrics.skipped(table, surpassed)
    if oldest is not None:
        route.metrics.lag(table, (clock.now() - oldest) / _MICROSECONDS)
    return done + WriteResult(skipped=surpassed)
