"""push: one batch into both stores, the history first (semantics, section 5).

What goes online is read back from the commit, so that both stores hold the very same values and ranks, and so that a
push that is repeated under its idempotency key also repairs what a crash between the two left undone. Without a
repetition the next incremental materialisation does: it follows commits.
"""

from __future__ import annotations

from typing import Any

from tiffin import clock
from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.ingest import marks
from tiffin.ingest.batch import OnInvalid, ingest
from tiffin.ingest.materialize import Route, write_frames
from tiffin.offline.base import Position, Window
from tiffin.online.base import Marks


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
    before = route.engine.position(table)
    commit = ingest(
        table,
        source,
        idempotency_key=idempotency_key,
        on_invalid=on_invalid,
        dead_letters=dead_letters,
        staging=staging,
        latest=latest,
        metrics=route.metrics,
        control=control,
    )
    if commit.version < 0:
        return commit
    after = route.engine.position(table)
    # Later commits come along where there are any, which rank decides as always.
    window = Window(end=latest + 1, since=Position(after.identity, commit.version - 1))
    frames = route.engine.latest(table, window, memory_budget=route.limits.memory_budget, control=control)
    write_frames(route, table, frames, after.identity, control=control)
    if after.version == commit.version and isinstance(route.store, Marks):
        _move_mark(route, table, before, after)
    return commit


def _move_mark(route: Route, table: TableSchema, before: Position, after: Position) -> None:
    """Spare the next incremental run the commit that was just written, if all before it is known to be written."""
    base = marks.read(route.store, table)
    if base is not None and base.position == before and after.version == before.version + 1 and base.covers(table):
        marks.advance(route.store, table, base, marks.reached(table, after, base.pending_from))
    elif before == (base.looked if base is not None and base.looked is not None else Position(before.identity)):
        marks.note(route.store, table, after)
