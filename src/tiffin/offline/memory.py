"""The reference engine: the rules of semantics, section 3, as loops over rows. Slow and obvious; others are held to it.

It reads files as every engine does, and finds winners by looking at every row of a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from tiffin.control import Control
from tiffin.definitions.schema import CREATED_TS, DELETED, EVENT_TS, INGESTED_AT, ROW, Column, Selection, TableSchema
from tiffin.offline import lake
from tiffin.offline.base import Capabilities, Position, Window
from tiffin.offline.columns import canonical_types
from tiffin.offline.plan import RetrievalPlan
from tiffin.offline.source import check_readable, file_source, open_history

_LEAST: Final = -(2**63)


class Row(NamedTuple):
    """What ranks one row of a history; instants in UTC microseconds. ``place`` is its place in the canonical frame."""

    key: tuple[Any, ...]
    event: int
    created: int | None
    ingested: int | None
    row: int | None
    deleted: bool
    place: int

    def rank(self) -> tuple[int, ...]:
        """Greater wins; nulls are smallest, and places follow paths and row numbers."""
        nullable = (self.created, self.ingested, self.row)
        return (self.event, *(_LEAST if part is None else part for part in nullable), self.place)


def open_engine(config: Any = None) -> MemoryEngine:
    """The engine; it holds nothing."""
    return MemoryEngine()


class MemoryEngine:
    """Implements OfflineEngine."""

    capabilities = Capabilities()

    def check(self, selection: Selection) -> None:
        check_readable(selection)

    def join(
        self, plan: RetrievalPlan, entities: pl.LazyFrame, *, memory_budget: int | None, control: Control
    ) -> Iterator[pl.DataFrame]:
        rows = entities.collect()
        answers: dict[str, pl.Series] = {}
        for selection in plan.selections:
            control.check()
            answers.update(_answers(plan, selection, rows))
        yield rows.hstack([answers[name] for name in plan.columns])

    def latest(
        self,
        table: TableSchema,
        window: Window,
        *,
        keys: pl.DataFrame | None = None,
        memory_budget: int | None,
        control: Control,
    ) -> Iterator[pl.DataFrame]:
        control.check()
        frame = _read(table, table.features, lake.snapshot(file_source(table)))
        rows = [row for row in _rows(table, frame) if _is_inside(row, window)]
        if window.since is not None:
            rows = _changed(table, window, rows)
        if window.commits is not None:
            rows = [row for row in rows if row.ingested in window.commits]
        if keys is not None:
            wanted = set(keys.select(table.key_names).rows())
            rows = [row for row in rows if row.key in wanted]
        best: dict[tuple[Any, ...], Row] = {}
        for row in rows:
            if row.key not in best or row.rank() > best[row.key].rank():
                best[row.key] = row
        yield frame[[row.place for row in best.values()]]

    def position(self, table: TableSchema) -> Position:
        return lake.position(file_source(table))

    def commits_since(self, table: TableSchema, position: Position | None) -> int:
        return lake.commits_since(file_source(table), position)

    def earliest_event_after(self, table: TableSchema, instant: int) -> int | None:
        frame = _read(table, (), lake.snapshot(file_source(table)))
        return min((row.event for row in _rows(table, frame) if row.event > instant), default=None)

    def close(self) -> None:
        """Nothing is held."""


def _answers(plan: RetrievalPlan, selection: Selection, entities: pl.DataFrame) -> dict[str, pl.Series]:
    table = selection.table
    instant = plan.known_at if isinstance(plan.known_at, int) else None
    frame = _read(table, list(dict.fromkeys(selection.features)), lake.snapshot(file_source(table), known_at=instant))
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for row in _rows(table, frame):
        by_key.setdefault(row.key, []).append(row)
    places: list[int | None] = []
    keys = entities.select(table.key_names).rows()
    for key, moment in zip(keys, _micros(entities[plan.timestamp_column]), strict=True):
        candidates = [row for row in by_key.get(key, []) if _is_candidate(row, moment, table.max_age, plan.known_at)]
        winner = max(candidates, key=Row.rank, default=None)
        places.append(None if winner is None or winner.deleted else winner.place)
    taken = frame.select(pl.all().gather(pl.Series(places, dtype=pl.UInt32)))
    names = zip(selection.features, selection.output, strict=True)
    return {name: taken[column.name].alias(name) for column, name in names}


def _is_candidate(row: Row, moment: int | None, max_age: int | None, known_at: object) -> bool:
    if moment is None or row.event > moment:
        return False
    if max_age and row.event < moment - max_age:
        return False
    if known_at is None:
        return True
    limit = moment if known_at == "row" else known_at
    return isinstance(limit, int) and row.created is not None and row.created <= limit


def _is_inside(row: Row, window: Window) -> bool:
    return (window.start is None or row.event >= window.start) and (window.end is None or row.event < window.end)


def _changed(table: TableSchema, window: Window, rows: list[Row]) -> list[Row]:
    """Rows committed since the window's position, and pending ones; all rows of their keys where some have no stamp."""
    source = file_source(table)
    newer = lake.files_since(source, window.since) if window.since is not None else lake.snapshot(source)
    found = {file.path: file.stamps for file in newer.files}
    snapshot = lake.snapshot(source)
    news: list[bool] = []
    for file in snapshot.files:
        ingested = _micros(_read(table, (), snapshot, files=(file,))[INGESTED_AT])
        stamps = found.get(file.path)
        news += [file.path in found and (stamps is None or instant in stamps.instants) for instant in ingested]
    again = window.revisit_from
    chosen = [row for row in rows if news[row.place] or (again is not None and row.event >= again)]
    unstamped = any(row.ingested is None for row in chosen if news[row.place])
    if newer.version >= 0 and window.since is not None and window.since.version >= 0 and not unstamped:
        return chosen
    keys = {row.key for row in chosen}
    return [row for row in rows if row.key in keys]


def _read(
    table: TableSchema,
    features: Sequence[Column],
    snapshot: lake.LakeSnapshot,
    *,
    files: Sequence[lake.LakeFile] | None = None,
) -> pl.DataFrame:
    history = open_history(table, features, snapshot, files=files)
    with history.collecting():
        return history.scan().select(list(canonical_types(table, features))).collect()


def _rows(table: TableSchema, frame: pl.DataFrame) -> Iterator[Row]:
    keys = frame.select(table.key_names).rows()
    times = [_micros(frame[name]) for name in (EVENT_TS, CREATED_TS, INGESTED_AT)]
    columns = zip(keys, *times, frame[ROW].to_list(), frame[DELETED].to_list(), strict=True)
    for place, (key, event, created, ingested, row, deleted) in enumerate(columns):
        yield Row(key, event, created, ingested, row, deleted, place)


def _micros(values: pl.Series) -> list[Any]:
    return values.to_physical().to_list()
