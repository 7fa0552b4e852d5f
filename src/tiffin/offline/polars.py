"""The engine for files: Parquet and Delta on disks and buckets, read and joined by Polars in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from tiffin.control import Control
from tiffin.definitions.schema import EVENT_TS, Selection, TableSchema
from tiffin.offline import join, lake
from tiffin.offline.base import Capabilities, Position, Window
from tiffin.offline.latest import latest
from tiffin.offline.plan import RetrievalPlan
from tiffin.offline.source import check_readable, file_source, open_history


def open_engine(config: Any = None) -> PolarsEngine:  # engines of files need no options
    """The engine; it holds nothing and may be shared by threads."""
    return PolarsEngine()


class PolarsEngine:
    """Implements OfflineEngine."""

    capabilities = Capabilities()

    def check(self, selection: Selection) -> None:
        check_readable(selection)

    def join(
        self, plan: RetrievalPlan, entities: pl.LazyFrame, *, memory_budget: int | None, control: Control
    ) -> Iterator[pl.DataFrame]:
        if memory_budget is None:
            entities = entities.collect().lazy()  # read once
        parts = join.parts_of(plan, entities)
        if memory_budget is None or join.bytes_in_memory(plan, parts, entities) <= memory_budget:
            return iter([join.in_memory(plan, parts, entities, control)])
        return join.on_disk(plan, parts, entities, control, memory_budget)

    def latest(
        self,
        table: TableSchema,
        window: Window,
        *,
        keys: pl.DataFrame | None = None,
        memory_budget: int | None,
        control: Control,
    ) -> Iterator[pl.DataFrame]:
        return latest(table, window, keys, memory_budget, control)

    def position(self, table: TableSchema) -> Position:
        return lake.position(file_source(table))

    def commits_since(self, table: TableSchema, position: Position | None) -> int:
        return lake.commits_since(file_source(table), position)

    def earliest_event_after(self, table: TableSchema, instant: int) -> int | None:
        low = instant + 1
        history = open_history(table, (), lake.snapshot(file_source(table)), low=low)
        with history.collecting():
            earliest = history.scan(low=low).select(pl.col(EVENT_TS).min().to_physical()).collect().item()
        return None if earliest is None else int(earliest)

    def close(self) -> None:
        """Nothing is held."""
