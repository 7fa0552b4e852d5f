"""Offsets of a stream in the log of a history: how far messages were stored, in the very commits that hold them.

They outrank the offsets that a broker keeps for the group, which move later, when the rows are online, too. So messages
that come again after a crash are known to be stored, and a member of the group that was believed dead and comes back
stores nothing that its successor has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deltalake import DeltaTable

from tiffin.offline.commit_log import PUSH, Appended, append, recorded
from tiffin.offline.delta import open_table
from tiffin.offline.lake import identity
from tiffin.offline.ledger import commits_after
from tiffin.offline.parts import Batch
from tiffin.offline.target import partition_names


class StreamLog:
    """The history of one table as one group of consumers writes it. Its log is read on, not from the beginning."""

    def __init__(self, uri: str, group: str) -> None:
        self._uri = uri
        self._group = group
        self._table: DeltaTable | None = None

    @property
    def exists(self) -> bool:
        """Whether there was a log when it was looked at last."""
        return self._table is not None

    @property
    def identity(self) -> str:
        """The identity of the history in positions."""
        return self._uri if self._table is None else identity(self._uri, self._table)

    @property
    def folders(self) -> tuple[str, ...]:
        """The columns that are folders of the history."""
        return partition_names(self._uri, self._table)

    def reload(self) -> None:
        """Look at what is there now, were it another table."""
        self._table = open_table(self._uri)

    def offsets(self, partitions: Iterable[str]) -> dict[str, int | None]:
        """The next offset of each partition by the log as it was looked at, None for those that it has nothing of."""
        names = {self._name(partition): partition for partition in partitions}
        if self._table is None:
            return dict.fromkeys(names.values())
        return {names[name]: offset for name, offset in recorded(self._uri, self._table, names).items()}

    def append(self, batch: Batch, offsets: Mapping[str, tuple[int | None, int]]) -> Appended:
        """Store a batch that is meant for the online store, too, and move the offsets of partitions with it.

        See :func:`tiffin.offline.commit_log.append`: OffsetsMoved where another member of the group was faster.
        """
        moved = {self._name(partition): offset for partition, offset in offsets.items()}
        done = append(self._uri, batch, offsets=moved, notes={PUSH: 1}, table=self._table)
        if self._table is None:
            self.reload()
        return done

    def entries(self, first: int, last: int) -> list[dict[str, Any]] | None:
        """What the log, as it was looked at, tells of the versions from ``first`` to ``last``; None if not of all."""
        if first > last:
            return []
        if self._table is None or last > self._table.version():
            return None
        commits = commits_after(self._uri, self._table, first - 1)
        return [entry for entry in commits.entries if entry["version"] <= last] if commits.complete else None

    def _name(self, partition: str) -> str:
        return f"tiffin.stream/{self._group}/{partition}"
