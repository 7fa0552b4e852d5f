"""push: one batch into both stores, the history first (semantics, section 5).

What goes online has the values and ranks of the commit, so that both stores hold the very same. A push that is repeated
under its idempotency key reads them back, which repairs what a crash between the two left undone. Without a
repetition recovery does (:mod:`tiffin.ingest.repair`): the commit notes that it is a push, and the table's mark which
pushes have reached the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tiffin import clock
from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import RANK, TableSchema
from tiffin.ingest import marks
from tiffin.ingest.batch import OnInvalid, ingest
from tiffin.ingest.materialize import Route, write_frames
from tiffin.ingest.online_only import ranked
from tiffin.ingest.repair import finish_pushes
from tiffin.offline.asof import latest_of_keys
from tiffin.offline.base import Position, Window
from tiffin.offline.delta import holding
from tiffin.online.base import Marks

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

#: So many pushes may have reached the store after one of which that is not known: then the log is asked about it.
UNSETTLED: Final = 64
#: The log is asked whether so many commits at most brought rows.
NEAR: Final = 8


def push(
    route: Route,
    table: TableSchema,
    source: Any,
    *,
    max_skew: int,
    idempotency_key: str | None = None,
    on_invalid: OnInvalid = "reject",
    dead_letters: str,
    staging: str,
    control: Control = UNWATCHED,
) -> Commit:
    """Commit a batch as :func:`tiffin.ingest.batch.ingest` does, then write its winners to the online store.

    Rows later than now + ``max_skew`` (microseconds) are invalid. When this returns, both stores hold the batch.
    """
    latest = clock.now() + max_skew
    delivery = _Delivery(route, table, control)
    commit = ingest(
        table,
        source,
        idempotency_key=idempotency_key,
        on_invalid=on_invalid,
        dead_letters=dead_letters,
        staging=staging,
        latest=latest,
        deliver=delivery.hand_over,
        erased=route.erased,
        metrics=route.metrics,
        held=delivery.held,
        control=control,
    )
    if commit.version < 0:
        return commit
    if not delivery.is_done:
        delivery.read_back(commit, latest)
    route.tend(table, commit.version)
    return commit


class _Delivery:
    """The way of one batch from its commit to the online store."""

    def __init__(self, route: Route, table: TableSchema, control: Control) -> None:
        self._route = route
        self._table = table
        self._control = control
        self.held: dict[str, DeltaTable] = {}
        self.is_done = False
        with holding(self.held):
            self._before = route.engine.position(table)

    def hand_over(self, commit: Commit, frames: Iterator[pl.DataFrame]) -> None:
        """Write the rows of a commit that was just made while they are at hand.

        Where every value is a column of its own they are those that a reader of the files finds. The results of
        expressions may depend on the types that columns have there, and names of folders tell no empty text from null:
        such tables are read back.
        """
        table = self._table
        folders = {part.partition("=")[0] for path in commit.partitions for part in path.split("/")}
        if any(not c.is_plain or c.expression in folders for c in (*table.keys, *table.features)):
            return
        winners = (latest_of_keys(frame, table.key_names, RANK) for frame in ranked(table, frames, commit.committed_at))
        with holding(self.held):
            identity = self._route.engine.position(table).identity
        write_frames(self._route, table, winners, identity, control=self._control)
        self._arrived(commit.version, Position(identity, commit.version))
        self.is_done = True

    def read_back(self, commit: Commit, latest: int) -> None:
        """Write what the history holds of a commit, as for a push that is repeated."""
        route, table = self._route, self._table
        with holding(self.held):
            after = route.engine.position(table)
            # Later commits come along where there are any, which rank decides as always.
            window = Window(end=latest + 1, since=Position(after.identity, commit.version - 1))
            budget = route.limits.memory_budget
            frames = route.engine.latest(table, window, memory_budget=budget, control=self._control)
            write_frames(route, table, frames, after.identity, control=self._control)
        self._arrived(commit.version, after)

    def _arrived(self, version: int, after: Position) -> None:
        if isinstance(self._route.store, Marks):
            _move_mark(self._route, self._table, self._before, version, after)


def _is_only(route: Route, table: TableSchema, seen: Position, after: Position) -> bool:
    """Whether one commit alone brought rows since ``seen``: the log may have gone on without any, by a compaction."""
    near = seen.identity == after.identity and seen.version >= 0 and 1 < after.version - seen.version <= NEAR
    return near and route.engine.commits_since(table, seen) == 1


def _move_mark(route: Route, table: TableSchema, before: Position, version: int, after: Position) -> None:
    """Tell that the commits from ``version`` on were written; sparing the next incremental run to look at them.

    It is spared where all before them is known to be written, too.
    """
    base = marks.read(route.store, table)
    alone = after.version == version
    follows = (
        alone
        and base is not None
        and base.position is not None
        and (
            (base.position == before and version == before.version + 1) or _is_only(route, table, base.position, after)
        )
    )
    if base is not None and follows and base.covers(table):
        moved = marks.advance(route.store, table, base, marks.reached(table, after, base.pending_from))
        if moved:
            return
    seen = base.looked if base is not None and base.looked is not None else Position(before.identity)
    looked = after if alone and (before == seen or _is_only(route, table, seen, after)) else None
    told = marks.settle(route.store, table, after.identity, range(version, after.version + 1), looked=looked)
    if len(told.beyond) > UNSETTLED:
        finish_pushes(route, table)
