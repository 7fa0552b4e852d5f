"""What commits brought, by what they say of themselves: which files, and the instants of ingestion of new rows.

A commit that rewrites files brings none of its own: the rows of its files are told apart by these instants, so that a
compaction makes nothing old look new and nothing new look old.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from tiffin.offline.area import TOKEN
from tiffin.offline.attempt import REWRITE
from tiffin.offline.ledger import Commits

#: The key of a commit's metadata that holds its rows' instant of ingestion, in UTC microseconds.
INGESTED_AT: Final = "tiffin.ingested_at"
#: That which holds how many rows it brought.
ROWS: Final = "tiffin.rows"

#: Operations of a log that bring no rows.
_WITHOUT_ROWS: Final = frozenset(
    {"CREATE TABLE", "ADD COLUMN", "SET TBLPROPERTIES", "OPTIMIZE", "VACUUM START", "VACUUM END"}
)
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")


class Brought(NamedTuple):
    """What a number of commits brought. ``appended`` and ``rewritten`` are tokens, which names of files contain."""

    appended: frozenset[str]
    rewritten: frozenset[str]
    instants: tuple[int, ...]

    def is_appended(self, path: str) -> bool:
        """Whether a file holds rows of these commits alone."""
        return not self.appended.isdisjoint(_tokens(path))

    def is_rewritten(self, path: str) -> bool:
        """Whether a file was written in these commits from others, so that it may hold their rows and older ones."""
        return not self.rewritten.isdisjoint(_tokens(path))


def brought(commits: Commits) -> Brought | None:
    """What commits brought; None where entries are missing, or of writers who do not say it."""
    if not commits.complete:
        return None
    appended, rewritten, instants = set(), set(), set()
    for entry in commits.entries:
        if REWRITE in entry:
            rewritten.add(str(entry[TOKEN]))
        elif not with_rows(entry):
            continue
        elif TOKEN in entry and INGESTED_AT in entry:
            appended.add(str(entry[TOKEN]))
            instants.add(int(entry[INGESTED_AT]))
        else:
            return None
    return Brought(frozenset(appended), frozenset(rewritten), tuple(sorted(instants)))


def with_rows(entry: Mapping[str, Any]) -> bool:
    """Whether a commit, as a table's history tells of it, brought rows."""
    return entry["operation"] not in _WITHOUT_ROWS and str(entry.get(ROWS, "")) != "0"


def has_rewrites(entries: Iterable[Mapping[str, Any]]) -> bool:
    """Whether some of the commits rewrote files."""
    return any(REWRITE in entry for entry in entries)


def _tokens(path: str) -> list[str]:
    return _TOKEN.findall(path.rpartition("/")[2])
