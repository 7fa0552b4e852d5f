"""Expected: which rows of a history should be online, by what writers were asked to bring there."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from tiffin.definitions.schema import EVENT_TS, INGESTED_AT, TableSchema
from tiffin.ingest import marks
from tiffin.ingest.materialize import Route
from tiffin.ingest.repair import pushes_of, unsettled
from tiffin.online.base import Marks

if TYPE_CHECKING:
    import polars as pl


class Excuse(enum.Enum):
    """Why a row may be absent."""

    #: It is past max age.
    EXPIRED = "expired"
    #: It was ingested, and nobody asked to have it online yet.
    WAITING = "waiting"


class Expected:
    """What should be online of one table, and what is still on its way there."""

    def __init__(self, route: Route, table: TableSchema, *, filled: bool = False) -> None:
        self._route = route
        self._table = table
        self._filled = filled
        self._pushed: frozenset[int] | None = None
        self.mark: marks.Mark | None = None
        #: Instants of ingestion of pushes that have not arrived yet.
        self.on_their_way: frozenset[int] = frozenset()
        #: Whether a writer may be about to change what is online: a materialisation that began, or a mark that moves.
        self.is_busy = False
        self.look()

    def look(self) -> None:
        """Learn what is on its way now. Whatever is not, has been written before this returns."""
        store = self._route.store
        mark = marks.read(store, self._table) if isinstance(store, Marks) else None
        self.is_busy = self.mark is not None and mark != self.mark
        self.mark = mark
        self.is_busy |= mark is not None and bool(mark.begun)
        found = unsettled(self._route, self._table) if isinstance(store, Marks) else None
        self.on_their_way = frozenset(() if found is None else found.stamps)

    @property
    def outdated(self) -> bool:
        """Whether the table's definition has changed since it was materialised."""
        return self.mark is not None and self.mark.position is not None and not self.mark.covers(self._table)

    @property
    def is_filled(self) -> bool:
        """Whether all that the history holds should be online."""
        return self._filled if self.mark is None else self.mark.position is not None

    def excuse(self, row: pl.DataFrame, now: int) -> Excuse | None:
        """Why a winner may be absent at an instant (UTC microseconds); None where it may not."""
        event = int(row[EVENT_TS].to_physical().item())
        if self._table.max_age and now - event > self._table.max_age:
            return Excuse.EXPIRED
        if self.is_filled:
            return None
        if self.mark is not None and self.mark.filled_from is not None and event >= self.mark.filled_from:
            return None
        return None if row[INGESTED_AT].to_physical().item() in self._pushes() else Excuse.WAITING

    def _pushes(self) -> frozenset[int]:
        """The instants of ingestion of all pushes that the log knows."""
        if self._pushed is None:
            self._pushed = frozenset(pushes_of(self._table))
        return self._pushed
