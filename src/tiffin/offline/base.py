"""The offline engine's contract: what a backend of histories must do, and what it may declare that it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from tiffin.control import Control
from tiffin.definitions.schema import Selection, TableSchema
from tiffin.offline.plan import RetrievalPlan

if TYPE_CHECKING:
    import polars as pl


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do. A gap makes the operation raise Unsupported; nothing is silently weaker."""

    known_at: bool = True
    orders_plain_files: bool = True
    writes: bool = True
    time_travel: bool = True


class Position(msgspec.Struct, frozen=True):
    """How far a source has come: what incremental work has seen.

    ``identity`` names the source itself, so that a mark does not survive a change of source. ``version`` is the
    Delta version, -1 without a log. ``files`` lists (path, size, modification in ns) of a plain folder, empty for
    Delta.
    """

    identity: str
    version: int = -1
    files: tuple[tuple[str, int, int], ...] = ()


class Window(msgspec.Struct, frozen=True):
    """Which rows a scan looks at. Instants are UTC microseconds; ``[start, end)`` bounds the event time.

    ``since`` limits the scan to what was committed after that position. ``revisit_from`` adds rows of earlier
    commits with ``event_ts >= revisit_from``: those that an earlier run left pending because they lay in its future.
    ``commits`` are the instants of ingestion of the only commits whose rows count, in UTC microseconds.
    """

    start: int | None = None
    end: int | None = None
    since: Position | None = None
    revisit_from: int | None = None
    commits: tuple[int, ...] | None = None


class OfflineEngine(Protocol):
    """A backend of histories. Instances are used from several threads; frames are Polars.

    Canonical frames carry keys and features under their Tiffin names and types, and the columns of
    :mod:`tiffin.definitions.schema`: EVENT_TS, CREATED_TS, INGESTED_AT, ROW, DELETED.
    """

    capabilities: Capabilities

    def check(self, selection: Selection) -> None:
        """Raise what keeps a selection from being read, looking at schemas alone: before any work is launched.

        InvalidData for a column that is missing or of a type that is refused, InvalidDefinition for a mapping that is
        no expression, Unsupported for a source that is not the engine's.
        """
        ...

    def join(
        self, plan: RetrievalPlan, entities: pl.LazyFrame, *, memory_budget: int | None, control: Control
    ) -> Iterator[pl.DataFrame]:
        """The training set, in the order of ``entities``, batch after batch; an empty answer is one empty batch.

        ``entities`` has keys in their registered types and the timestamp column as ``Datetime("us", "UTC")``; every
        other column is handed through. ``memory_budget`` in bytes bounds what the join holds at once, None for no
        bound.
        """
        ...

    def latest(
        self,
        table: TableSchema,
        window: Window,
        *,
        keys: pl.DataFrame | None = None,
        memory_budget: int | None,
        control: Control,
    ) -> Iterator[pl.DataFrame]:
        """The row of greatest rank of every key inside the window, as canonical frames, tombstones included.

        Every key appears at most once over all batches. ``keys`` are the only keys that count, where given: the key
        columns under their Tiffin names and types, without nulls, each key once. They are not given together with the
        window's ``since``.
        """
        ...

    def position(self, table: TableSchema) -> Position:
        """How far the table's source has come. A source that does not exist yet has the position of an empty one."""
        ...

    def commits_since(self, table: TableSchema, position: Position | None) -> int:
        """How many commits (or new files of a plain folder) came after ``position``; all of them for None."""
        ...

    def earliest_event_after(self, table: TableSchema, instant: int) -> int | None:
        """The smallest event time greater than ``instant``, or None: when pending rows fall due."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
