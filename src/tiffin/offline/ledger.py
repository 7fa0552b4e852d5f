"""Ledger: what a table's log tells of its commits, and whether it still tells all of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from deltalake import DeltaTable

from tiffin.offline.delta import delta_errors


class Commits(NamedTuple):
    """Entries of a log, oldest first, each with its ``version`` and what its writer noted.

    ``complete`` is whether none is missing: old entries may have been cleaned up.
    """

    entries: list[dict[str, Any]]
    complete: bool


def commits_after(uri: str, table: DeltaTable, version: int) -> Commits:
    """The commits of an open table above a version, as far as its log tells."""
    newest = table.version()
    if newest <= version:
        return Commits([], complete=True)
    with delta_errors(uri):
        history = table.history(newest - version)
    entries = sorted((entry for entry in history if entry["version"] > version), key=lambda entry: entry["version"])
    return Commits(entries, complete=len(entries) == newest - version)
