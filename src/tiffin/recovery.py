"""Recovery: what crashes cut off is finished, on request for everything, and for one table when it is first written to.

A lease on each table keeps two that recover apart, whatever processes and machines they are in. Nothing depends on it
for being right: every step may be taken twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.errors import Conflict, JobCancelled, TiffinError
from tiffin.ingest import deadletter
from tiffin.ingest.repair import finish_pushes, finish_runs, is_settled, sweep_history
from tiffin.ingest.spool import sweep_scratch
from tiffin.jobs.lease import Lease, holding
from tiffin.jobs.record import JobType

if TYPE_CHECKING:
    from tiffin.ingest.materialize import Route
    from tiffin.workspace import Workspace

_log = logging.getLogger(__name__)

#: Seconds that a lease on a table lasts; it is renewed as long as its holder lives.
LEASE_SECONDS: Final = 10.0
#: Seconds that a repair waits for the lease of somebody who may have been killed.
PATIENCE_S: Final = 1.5 * LEASE_SECONDS
_POLL_S: Final = 0.2


def repair(workspace: Workspace, tables: Sequence[TableSchema], *, control: Control = UNWATCHED) -> list[Commit]:
    """Finish what crashes have left, in tables and everywhere else; the commits whose rows it brought online.

    Jobs whose process is gone are recorded as failed; files of batches that were never committed are removed, and so
    are their dead letters; pushes reach the online store; materialisations are done again. A table that somebody else
    is repairing is left to them. One that cannot be repaired does not keep the others from it: the first error is
    raised at the end.
    """
    # Looking for jobs records those as failed that were lost.
    busy = {
        (job.project, name)
        for job in workspace.jobs.find()
        if job.type is not JobType.HISTORICAL_RETRIEVAL
        for name in job.tables
    }
    steps: list[Callable[[], list[Commit]]] = [lambda: _tidy(workspace, control)]
    for table in tables:
        idle = (table.project, table.name) not in busy
        steps.append(lambda table=table, idle=idle: _repair(workspace, table, control, idle=idle))  # type: ignore[misc]  # bound now
    finished: list[Commit] = []
    failed: TiffinError | None = None
    for step in steps:
        control.check()
        try:
            finished += step()
        except JobCancelled:
            raise
        except TiffinError as error:
            control.log(f"repair: {error}")
            failed = failed or error
    if failed is not None:
        raise failed
    return finished


def _tidy(workspace: Workspace, control: Control) -> list[Commit]:
    """What belongs to no table alone: scratch files, and dead letters of batches that were never stored."""
    swept = sweep_scratch(str(workspace.home / "staging"))
    decided = deadletter.finish(workspace.folder("deadletter_path", "dead_letters"))
    if swept or decided:
        control.log(f"{swept} scratch folders removed, dead letters of {len(decided)} batches decided upon")
    return []


def _repair(workspace: Workspace, table: TableSchema, control: Control, *, idle: bool) -> list[Commit]:
    """Repair a table once nobody else does; one that somebody goes on repairing is left to them."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with _alone(workspace, table):
                return _finish(workspace, table, control, idle=idle)
        except Conflict as error:
            if time.monotonic() > deadline:
                control.log(f"{table.label()}: {error.message}")
                return []
        control.check()
        time.sleep(_POLL_S)


def _alone(workspace: Workspace, table: TableSchema) -> AbstractContextManager[Lease]:
    return holding(workspace.jobs.leases, f"repair/{table.project}/{table.name}", seconds=LEASE_SECONDS)


def _finish(workspace: Workspace, table: TableSchema, control: Control, *, idle: bool) -> list[Commit]:
    swept = sweep_history(table)
    if swept:
        control.log(f"{table.label()}: the files of {swept} batches that were never committed are removed")
    if not workspace.has_store:
        control.log(f"{table.label()}: its online store is the online service's, which repairs it")
        return []
    finished = finish_pushes(workspace.route, table, control=control)
    if idle:
        finish_runs(workspace.route, table, control=control)
    return finished


class Recovery:
    """What one process finishes before it first writes rows of a table to the online store. Safe to use from threads.

    It must not keep anybody from writing: where it fails, that is logged, and ``tiffin repair`` will tell.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()

    def before(self, tables: Iterable[TableSchema]) -> None:
        """Finish the pushes to tables in which a process was killed: where none was, a look at the mark and the log."""
        for table in tables if self._workspace.has_store else ():
            name = (table.project, table.name)
            with self._lock:
                if name in self._seen:
                    continue
                self._seen.add(name)
            try:
                self._finish(self._workspace.route, table)
            except Conflict:  # somebody is at it, or was killed there: the next write asks again
                with self._lock:
                    self._seen.discard(name)
            except TiffinError as error:
                _log.warning("%s: what a crash may have left was not looked at: %s", table.label(), error.message)

    def _finish(self, route: Route, table: TableSchema) -> None:
        if is_settled(route, table):
            finish_pushes(route, table)  # which tells that the log was read up to here, and has nothing to write
            return
        with _alone(self._workspace, table):
            finished = finish_pushes(route, table)
        if finished:
            versions = ", ".join(str(commit.version) for commit in finished)
            _log.info("%s: pushes that a crash had cut off are online now: versions %s", table.label(), versions)
