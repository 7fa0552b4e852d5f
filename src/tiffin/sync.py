"""Sync: what the jobs do that bring rows from the offline source to the online store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiffin.control import Control
from tiffin.definitions.schema import TableSchema
from tiffin.errors import JobCancelled, TiffinError
from tiffin.ingest.expiry import sweep_if_due
from tiffin.ingest.materialize import Route, materialize, materialize_incremental
from tiffin.ingest.vanished import settle
from tiffin.jobs.record import Outcome
from tiffin.online.base import WriteResult


class Sync:
    """Brings tables up to date, one after the other. One that cannot be does not keep the others from it."""

    def __init__(
        self,
        tables: Sequence[TableSchema],
        step: Callable[[TableSchema, Control], WriteResult],
        after: Callable[[Control], object] = lambda _: None,
    ) -> None:
        self._tables = tables
        self._step = step
        self._after = after

    def run(self, control: Control) -> Outcome:
        """Do every table and what comes after them, and then raise the first error there was."""
        outcome = Outcome()
        failed: TiffinError | None = None
        for table in self._tables:
            control.check()
            try:
                result = self._step(table, control)
            except JobCancelled:
                raise
            except TiffinError as error:
                control.log(f"{table.label()} failed: {error}")
                failed = failed or error
            else:
                outcome += Outcome(result.written, result.skipped)
        self._after(control)
        if failed is not None:
            raise failed
        return outcome


def window(route: Route, tables: Sequence[TableSchema], start: int | None, end: int | None) -> Sync:
    """The rows with ``start <= event_ts < end``, in UTC microseconds."""
    return Sync(tables, lambda table, control: materialize(route, table, start=start, end=end, control=control))


def incremental(route: Route, tables: Sequence[TableSchema]) -> Sync:
    """What was committed since the last time; then rows that have expired leave the store, if it is time.

    Before it, online rows of files that are no longer there are settled.
    """

    def step(table: TableSchema, control: Control) -> WriteResult:
        settle(route, table, control=control)
        return materialize_incremental(route, table, control=control)

    return Sync(tables, step, lambda control: sweep_if_due(route.store, control))
