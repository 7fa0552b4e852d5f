"""push: one batch into both stores, the history first (semantics, section 5).

What goes online is read back from the commit, so that both stores hold the very same values and ranks, and so that a
push that is repeated under its idempotency key also repairs what a crash between the two left undone. Without a
repetition recovery does (:mod:`tiffin.ingest.repair`): the commit notes that it is a push, and the table's mark which
pushes have reached the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tiffin import clock
from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.ingest import marks
from tiffin.ingest.batch import OnInvalid, ingest
from tiffin.ingest.materialize import Route, write_frames
from tiffin.ingest.repair import finish_pushes
from tiffin.offline.base import Position, Window
from tiffin.offline.delta import holding
from tiffin.online.base import Marks

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: So many pushes may have reached the store after one of which that is not known: then the log is asked about it.
UNSETTLED: Final = 64


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
    held: dict[str, DeltaTable] = {}
    with holding(held):
        before = route.engine.position(table)
    commit = ingest(
        table,
        source,
        idempotency_key=idempotency_key,
        on_invalid=on_invalid,
        dead_letters=dead_letters,
        staging=staging,
        latest=latest,
        for_online=True,
        erased=route.erased,
        metrics=route.metrics,
        held=held,
        control=control,
    )
    if commit.version < 0:
        return commit
    with holding(held):
        after = route.engine.position(table)
        # Later commits come along where there are any, which rank decides as always.
        window = Window(end=latest + 1, since=Position(after.identity, commit.version - 1))
        frames = route.engine.latest(table, window, memory_budget=route.limits.memory_budget, control=control)
        write_frames(route, table, frames, after.identity, control=control)
        if isinstance(route.store, Marks):
            _move_mark(route, table, before, commit.version, after)
    route.tend(table, commit.version)
    return commit


def _move_mark(route: Route, table: TableSchema, before: Position, version: int, after: Position) -> None:
    """Tell that the commits from ``version`` on were written; sparing the next incremental run to look at them.

    It is spared where all before them is known to be written, too.
    """
    base = marks.read(route.store, table)
    follows = base is not None and base.position == before and after.version == version == before.version + 1
    if base is not None and follows and base.covers(table):
        moved = marks.advance(route.store, table, base, marks.reached(table, after, base.pending_from))
        if moved:
            return
    seen = base.looked if base is not None and base.looked is not None else Position(before.identity)
    looked = after if after.version == version and before == seen else None
    told = marks.settle(route.store, table, after.identity, range(version, after.version + 1), looked=looked)
    if len(told.beyond) > UNSETTLED:
        finish_pushes(route, table)
