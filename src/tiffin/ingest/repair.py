"""Repair: what a crash cut off is finished, step by step, each of which may be repeated (semantics, section 5).

A push, and a batch of a stream, is committed to the history and then written to the online store. Its commit notes that
it is meant for both (``PUSH``), and the table's mark in the store tells which of these have arrived
(:class:`~tiffin.ingest.marks.Settled`); those in between are finished here, and no others: what was only ingested waits
for its materialisation. Where the log no longer reaches back to what the mark tells of, all that is newer is written:
more than was asked for, and never less.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tiffin import clock
from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.definitions.source import FileSource
from tiffin.ingest import marks
from tiffin.ingest.materialize import Route, materialize, materialize_incremental, write_frames
from tiffin.offline.area import sweep
from tiffin.offline.base import Position, Window
from tiffin.offline.brought import INGESTED_AT, ROWS, with_rows
from tiffin.offline.commit_log import PUSH
from tiffin.offline.delta import open_table
from tiffin.offline.ledger import commits_after
from tiffin.offline.location import is_glob, normalise
from tiffin.online.base import Marks

#: So many commits are finished at once.
_AT_ONCE: Final = 500


def finish_pushes(route: Route, table: TableSchema, *, control: Control = UNWATCHED) -> list[Commit]:
    """Write the rows of pushes that did not reach the online store; the commits whose rows came there now, by version.

    Cheap where nothing is to be done: one look at the mark and at the entries of the log since then.
    """
    found = unsettled(route, table)
    if found is None:
        return []
    position, mark = found.position, _mark(route, table)
    if mark is not None and not found.complete:
        # What was committed in between is not on record any more, so it counts as meant for both.
        known = mark.arrived(position.identity)
        window = Window(end=clock.now() + 1, since=Position(position.identity, known.version))
        _write(route, table, window, position, control)
    for start in range(0, len(found.pushes), _AT_ONCE):
        _write(route, table, Window(commits=found.stamps[start : start + _AT_ONCE]), position, control)
    if isinstance(route.store, Marks) and (mark is not None or found.pushes):
        looked = position if _is_seen(mark, found) else None
        marks.settle(route.store, table, position.identity, (), up_to=position.version, looked=looked)
    finished = [_commit(table, entry) for entry in found.pushes]
    for commit in finished:
        control.log(f"{table.label()}: the {commit.rows} rows of version {commit.version} are online now")
    return finished


def is_settled(route: Route, table: TableSchema) -> bool:
    """Whether nothing is left for :func:`finish_pushes`: no push that did not arrive, and no doubt whether there is.

    Of a store without marks nobody can tell, so nothing is said to be left: on request all pushes are written again.
    """
    if not isinstance(route.store, Marks):
        return True
    found = unsettled(route, table)
    return found is None or (not found.pushes and found.complete)


class Unsettled(NamedTuple):
    """What of a table's log the mark does not tell of: where the log is, and the commits since.

    ``pushes`` are those that did not reach the store, ``others`` those of rows that are no pushes, oldest first.
    ``complete`` is whether the log still tells of all.
    """

    position: Position
    pushes: list[dict[str, Any]]
    others: list[dict[str, Any]]
    complete: bool

    @property
    def stamps(self) -> tuple[int, ...]:
        """The instants of ingestion of the pushes, in UTC microseconds."""
        return tuple(int(entry[INGESTED_AT]) for entry in self.pushes)


def unsettled(route: Route, table: TableSchema) -> Unsettled | None:
    """The pushes that did not reach the store; None where there is nothing to be looked at: no log, or nothing new."""
    uri = log_of(table)
    if uri is None:
        return None
    # The position first: what is committed between the two looks is then left for the next call, and not told as done.
    position = route.engine.position(table)
    log = open_table(uri)
    if log is None:
        return None
    mark = _mark(route, table)
    known = marks.Settled(position.identity) if mark is None else mark.arrived(position.identity)
    if known.version >= position.version:
        return None
    commits = commits_after(uri, log, known.version)
    entries = [entry for entry in commits.entries if entry["version"] <= position.version and with_rows(entry)]
    pushes = [entry for entry in entries if entry.get(PUSH) and not known.holds(int(entry["version"]))]
    return Unsettled(position, pushes, [entry for entry in entries if not entry.get(PUSH)], commits.complete)


def pushes_of(table: TableSchema) -> list[int]:
    """The instants of ingestion of all pushes that a table's log knows, in UTC microseconds."""
    uri = log_of(table)
    log = None if uri is None else open_table(uri)
    if uri is None or log is None:
        return []
    return [int(entry[INGESTED_AT]) for entry in commits_after(uri, log, -1).entries if entry.get(PUSH)]


def _mark(route: Route, table: TableSchema) -> marks.Mark | None:
    return marks.read(route.store, table) if isinstance(route.store, Marks) else None


def _is_seen(mark: marks.Mark | None, found: Unsettled) -> bool:
    """Whether, the pushes written, rows were taken from all commits up to the position."""
    if mark is None or not found.complete:
        return not found.others
    looked = mark.looked
    if looked is None or looked.identity != found.position.identity:
        return False
    return mark.arrived(looked.identity).version <= looked.version and all(
        entry["version"] <= looked.version for entry in found.others
    )


def log_of(table: TableSchema) -> str | None:
    """Where the log of a table's history is, if there may be one."""
    if not isinstance(table.source, FileSource):
        return None
    uri = normalise(table.source.file_url)
    return None if is_glob(uri) else uri


def _write(route: Route, table: TableSchema, window: Window, position: Position, control: Control) -> None:
    frames = route.engine.latest(table, window, memory_budget=route.limits.memory_budget, control=control)
    write_frames(route, table, frames, position.identity, control=control)


def _commit(table: TableSchema, entry: dict[str, Any]) -> Commit:
    return Commit(
        table.project,
        table.name,
        int(entry["version"]),
        int(entry.get(ROWS, 0)),
        committed_at=int(entry[INGESTED_AT]),
        already_applied=True,
    )


def finish_runs(route: Route, table: TableSchema, *, control: Control = UNWATCHED) -> int:
    """Do again the materialisations that began and did not end; how many.

    Whoever calls this knows that none of them is at work. Doing one again beside it would only repeat its work.
    """
    mark = marks.read(route.store, table) if isinstance(route.store, Marks) else None
    begun = () if mark is None else mark.begun
    if any(run.incremental for run in begun):
        materialize_incremental(route, table, control=control)
    for run in begun:
        if not run.incremental:
            materialize(route, table, start=run.start, end=run.end, control=control)
        marks.end(route.store, table, run)
        control.log(f"{table.label()}: a materialisation that was cut off at {clock.to_iso(run.at)} is finished")
    return len(begun)


def sweep_history(table: TableSchema) -> int:
    """Remove the files that killed ingestions left beside a table's history; how many batches they were of."""
    uri = log_of(table)
    log = None if uri is None else open_table(uri)
    return 0 if uri is None or log is None else sweep(uri, log)
