"""Ledger: what a table's log tells of its commits, and whether it still tells all of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from deltalake import DeltaTable

from tiffin.offline.entries import entry_of


class Commits(NamedTuple):
    """Entries of a log, oldest first, each with its ``version`` and what its writer noted.

    ``complete`` is whether none is missing: old entries may have been cleaned up.
    """

    entries: list[dict[str, Any]]
    complete: bool


def commits_after(uri: str, table: DeltaTable, version: int) -> Commits:
    """The commits of an open table above a version, as far as its log tells."""
    newest = table.version()
    found = [entry_of(uri, number) for number in range(version + 1, newest + 1)]
    told = [entry for entry in found if entry is not None]
    return Commits(told, complete=len(told) == len(found))
