"""Files that vanish: a plain folder loses files or has them replaced, and online rows of theirs are no one's any more.

A log tells what was removed; a plain folder says nothing, so the files of the table's mark are compared with those that
are there. Where one is missing, the online rows are compared with what is left of the history: rows whose key has none
are removed, each only if it is still what was looked at, and rows that lost to those of a vanished file come back.
"""

from __future__ import annotations

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.ingest import marks
from tiffin.ingest.materialize import Route
from tiffin.ingest.verify import Asked, verify
from tiffin.online.base import Comparable, Marks


def files_vanished(route: Route, table: TableSchema) -> int:
    """How many of the files that the online rows are of are gone or were replaced; 0 where nobody can tell."""
    if not isinstance(route.store, Marks):
        return 0
    mark = marks.read(route.store, table)
    if mark is None or mark.position is None or not mark.position.files:
        return 0
    position = route.engine.position(table)
    if position.identity != mark.position.identity or position.version != mark.position.version:
        return 0  # another source, whose rows replace these; or a log, which tells by itself
    return len(set(mark.position.files) - set(position.files))


def settle(route: Route, table: TableSchema, *, control: Control = UNWATCHED) -> None:
    """Make the online rows those of the files that are left, before the mark forgets the others.

    Cut off anywhere, the next run does it again. A store that cannot list its keys keeps its rows.
    """
    gone = files_vanished(route, table)
    if gone and isinstance(route.store, Comparable):
        control.log(
            f"{table.label()}: {gone} files are gone or were replaced; its online rows are compared with the rest"
        )
        verify(route, table, Asked(fix=True), control=control)
