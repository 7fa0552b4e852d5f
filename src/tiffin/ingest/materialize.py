"""Materialise: rows of the offline source become rows of the online store (semantics, sections 4 and 5).

A window of event times is written as it is asked for. Incremental work follows what was committed, with the marks of
:mod:`tiffin.ingest.marks`. Either may be cut off anywhere and run again: a row that was written is skipped or written
once more as the same bytes, and the mark moves only when all rows before it are durable.

Rows of one source are never compared with rows of another. Where the table's source has changed, or the columns that
tell keys and times, the table's online rows are removed before the first new one is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import EVENT_TS, TableSchema
from tiffin.errors import InvalidArgument, TiffinError
from tiffin.ingest import marks
from tiffin.ingest.erased import NOBODY, ErasedKeys, Guard
from tiffin.ingest.metrics import UNMEASURED, IngestionMetrics
from tiffin.offline.base import OfflineEngine, Position, Window
from tiffin.online.base import Marks, OnlineStore, Purgeable, Scannable, TableId, WriteResult
from tiffin.online.codec import encode_frame
from tiffin.online.layout import Layout

if TYPE_CHECKING:
    import polars as pl

#: How many rows, and about how many bytes of them, are encoded and written at once. Stores sort what they are given:
#: the more, the less they jump about.
BATCH_ROWS: Final = 65_536
BATCH_BYTES: Final = 32 << 20
#: Before every event.
_FIRST: Final = -(1 << 63)


class Limits(msgspec.Struct, frozen=True):
    """How work is bounded.

    ``grace`` is how long, in microseconds, a store holds a row beyond its max age, ``memory_budget`` what the scan may
    hold, in bytes.
    """

    grace: int = 86_400_000_000
    memory_budget: int | None = None


def leave_alone(table: TableSchema, version: int) -> None:
    """Nobody keeps the files of histories few."""


class Route(msgspec.Struct, frozen=True):
    """From where to where rows go, in which bounds, who counts them, and whose keys were erased.

    ``tend`` is told of every version that was committed on the way (see :mod:`tiffin.ingest.upkeep`).
    """

    engine: OfflineEngine
    store: OnlineStore
    limits: Limits = Limits()
    metrics: IngestionMetrics = UNMEASURED
    erased: ErasedKeys = NOBODY
    tend: Callable[[TableSchema, int], None] = leave_alone


def materialize(
    route: Route, table: TableSchema, *, start: int | None = None, end: int | None = None, control: Control = UNWATCHED
) -> WriteResult:
    """Write the winners among rows with ``start <= event_ts < end``, in UTC microseconds; the mark stays as it is.

    Rows of the future are left for a later run, whatever ``end`` says.
    """
    if start is not None and end is not None and start >= end:
        raise InvalidArgument(
            f"The window from {clock.to_iso(start)} to {clock.to_iso(end)} is empty.",
            field="end",
            hint="The window includes start and excludes end: end must be later.",
        )
    until = clock.now() + 1
    window = Window(start=start, end=until if end is None else min(end, until))
    position = route.engine.position(table)
    run = marks.Begun(uuid.uuid4().hex, clock.now(), start=start, end=end)
    with _told(route.store, table, run):
        if isinstance(route.store, Marks):
            _unmixed(route.store, table, position, run, control)
        result = _scan(route, table, window, position, run, control)
        if isinstance(route.store, Marks):
            marks.note(route.store, table, position, filled_from=_FIRST if start is None else start)
    return result


def materialize_incremental(route: Route, table: TableSchema, *, control: Control = UNWATCHED) -> WriteResult:
    """Write what was committed since the mark, and rows of earlier commits whose time has come; then move the mark.

    Without a mark, or where it does not cover the table's definition or source, everything is written. Where rows of
    another source are there, they are removed first.
    """
    before = marks.read(route.store, table)
    now = clock.now()
    # Taken before the scan: what is committed meanwhile may be written now and is written again by the next run.
    position = route.engine.position(table)
    if before is not None and _went_back(before, position):
        marks.advance(route.store, table, before, replace(before, mixed=True))
    run = marks.Begun(uuid.uuid4().hex, now, incremental=True)
    with _told(route.store, table, run):
        return _follow(route, table, position, now, run, control)


def _follow(
    route: Route, table: TableSchema, position: Position, now: int, run: marks.Begun, control: Control
) -> WriteResult:
    """Write what came since the table's mark, up to ``position``, and move it."""
    base = _unmixed(route.store, table, position, run, control)
    follows = base.position is not None and base.position.identity == position.identity
    if base.position is None or not follows or not base.covers(table):
        control.log(f"{table.label()}: from the beginning")
        first = marks.opening(table, position.identity)
        # Where it fails the mark is another run's now, as it will be when this one ends.
        marks.advance(route.store, table, base, first)
        base = first
        window = Window(end=now + 1)
    else:
        due = base.pending_from is not None and base.pending_from <= now
        if position == base.position and not due:
            return WriteResult()
        window = Window(end=now + 1, since=base.position, revisit_from=base.pending_from if due else None)
    result = _scan(route, table, window, position, run, control)
    pending_from = route.engine.earliest_event_after(table, now)
    if not marks.advance(route.store, table, base, marks.reached(table, position, pending_from)):
        control.log(f"{table.label()}: the mark was moved by another run; the next one looks again")
    return result


@contextmanager
def _told(store: OnlineStore, table: TableSchema, run: marks.Begun) -> Iterator[None]:
    """Around a run that may begin: where it ends by an error, it has ended, too, and whoever asked for it knows."""
    try:
        yield
    except TiffinError:
        with suppress(TiffinError):  # the store may be what is away
            _end(store, table, run)
        raise
    _end(store, table, run)


def _end(store: OnlineStore, table: TableSchema, run: marks.Begun) -> None:
    if isinstance(store, Marks):
        marks.end(store, table, run)


def _went_back(mark: marks.Mark, position: Position) -> bool:
    """Whether a source is at a version before the one that was written, because its format pins it now."""
    written = mark.position
    return written is not None and written.identity == position.identity and position.version < written.version


def _unmixed(
    store: OnlineStore, table: TableSchema, position: Position, run: marks.Begun, control: Control
) -> marks.Mark:
    """The table's mark, its rows removed first where they are not all of the source at ``position``.

    Cut off anywhere, the next run begins it again. A row that is pushed meanwhile and removed with the others comes
    back, since the scan that follows finds its commit.
    """
    table_id = TableId(table.project, table.name)
    while (base := marks.narrow(store, table, position.identity)).mixed:
        control.log(f"{table.label()}: its source was changed, so its online rows are made anew")
        emptying = marks.opening(table, position.identity, mixed=True)
        if not marks.advance(store, table, base, emptying):
            continue
        marks.begin(store, table, run)
        if isinstance(store, Scannable):
            _remove(store, table_id, control)
        else:
            store.drop(table_id)
        # Where it fails another writer of the old source has come in between.
        marks.advance(store, table, emptying, replace(emptying, mixed=False))
    return base


def _remove(store: Scannable, table: TableId, control: Control) -> None:
    """Remove all rows of a table. Its mark stays, unlike with ``drop``: it must be known that this was not finished."""
    rows = store.scan(table)
    while keys := [key for key, _ in islice(rows, BATCH_ROWS)]:
        control.check()
        store.delete(table, keys)


def commits_waiting(route: Route, table: TableSchema) -> int:
    """How many commits were made since rows were last taken from the table's source.

    All of them where the mark does not cover the table's definition any more. A store without marks cannot tell: 0.
    """
    if not isinstance(route.store, Marks):
        return 0
    mark = marks.read(route.store, table)
    outdated = mark is not None and (mark.mixed or (mark.position is not None and not mark.covers(table)))
    return route.engine.commits_since(table, None if mark is None or outdated else mark.looked)


def _scan(
    route: Route, table: TableSchema, window: Window, position: Position, run: marks.Begun, control: Control
) -> WriteResult:
    if isinstance(route.store, Marks):
        marks.begin(route.store, table, run)
    frames = route.engine.latest(table, window, memory_budget=route.limits.memory_budget, control=control)
    result = write_frames(route, table, frames, position.identity, control=control)
    route.metrics.read(table, result.written + result.skipped)
    control.log(f"{table.label()}: {result.written} rows written, {result.skipped} skipped")
    return result


def write_frames(
    route: Route,
    table: TableSchema,
    frames: Iterable[pl.DataFrame],
    source: str,
    *,
    online_only: bool = False,
    control: Control = UNWATCHED,
) -> WriteResult:
    """Write canonical frames, batch by batch; rows without a key are counted as skipped.

    The table's mark claims at no time what does not hold of these rows, which come from ``source`` (the identity in its
    position): not before the first is written, in case the work is cut off, and not after any, in case a run with
    another definition ended meanwhile. ``online_only`` marks rows that no history holds.
    """
    store, table_id = route.store, TableId(table.project, table.name)
    number = store.ensure(table_id, Layout.of(table.features).to_bytes())
    expire_after = None if table.max_age is None else table.max_age + route.limits.grace
    result = WriteResult()
    guard = Guard(table, route.erased)
    _narrow(store, table, source, guard)
    for batch, without_key in _batches(table, frames):
        control.check()
        kept = guard.kept(batch)
        rows = encode_frame(table, number, kept, online_only=online_only)
        done = store.write(table_id, rows, expire_after=expire_after)
        done += WriteResult(skipped=without_key, erased=batch.height - kept.height)
        if _narrow(store, table, source, guard):
            done += _take_back(store, table_id, guard, kept, rows)
        _measure(route.metrics, table, kept, done)
        result += done
        control.progress(result.written + result.skipped)
    return result


def _measure(metrics: IngestionMetrics, table: TableSchema, batch: pl.DataFrame, done: WriteResult) -> None:
    metrics.written(table, done.written)
    metrics.skipped(table, done.skipped)
    metrics.erased(table, done.erased)
    latest = None if metrics is UNMEASURED or batch.is_empty() else batch[EVENT_TS].to_physical().max()
    if isinstance(latest, int):
        metrics.freshness(table, latest)


def _narrow(store: OnlineStore, table: TableSchema, source: str, guard: Guard) -> bool:
    """Narrow the mark, and know all erasures up to its fence; whether there were any that were not known."""
    if not isinstance(store, Marks):
        return guard.admit(0) > 0
    mark = marks.narrow(store, table, source)
    before = guard.version
    known = guard.admit(mark.erased)
    if mark.erased <= 0 < known:
        marks.fence(store, table, known)
    return known > before


def _take_back(
    store: OnlineStore, table: TableId, guard: Guard, kept: pl.DataFrame, rows: Sequence[tuple[bytes, bytes]]
) -> WriteResult:
    """Remove again what was written of keys that were erased meanwhile."""
    gone = guard.gone(kept)
    if gone is None:
        return WriteResult()
    keys = [rows[place][0] for place in gone.arg_true()]
    if isinstance(store, Scannable):
        store.delete(table, keys)
    if isinstance(store, Purgeable):
        store.purge()  # the erasure may have done so before these were written
    return WriteResult(erased=len(keys))


def _batches(table: TableSchema, frames: Iterable[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, int]]:
    """Slices of frames whose rows all have keys, with the number of rows that had none."""
    for frame in frames:
        keyed = frame.drop_nulls(list(table.key_names))
        without_key = frame.height - keyed.height
        fitting = keyed.height * BATCH_BYTES // max(int(keyed.estimated_size()), 1)
        for batch in keyed.iter_slices(max(1, min(BATCH_ROWS, fitting))):
            yield batch, without_key
            without_key = 0
        if without_key:
            yield keyed, without_key
