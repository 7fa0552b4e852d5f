"""The online store's contract: the latest row of every key, by rank.

A store moves opaque bytes. Keys and values are made by :mod:`tiffin.online.codec`; the first RANK_BYTES of a value
are the row's rank, compared as bytes, and the first eight of these are its event time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

import msgspec

#: The rank's width: event, created, ingested and row, eight big-endian bytes each.
RANK_BYTES: Final = 32


class TableId(msgspec.Struct, frozen=True, order=True):
    """The table that rows belong to: deleting and re-creating a name keeps its rows reachable."""

    project: str
    table: str


class WriteResult(msgspec.Struct, frozen=True):
    """``written`` rows were stored, ``skipped`` ones lost to a greater rank, ``erased`` ones are of erased keys."""

    written: int = 0
    skipped: int = 0
    erased: int = 0

    def __add__(self, other: WriteResult) -> WriteResult:
        return WriteResult(self.written + other.written, self.skipped + other.skipped, self.erased + other.erased)


class OnlineStore(Protocol):
    """Rows of tables by key. Every method may be called from several threads and processes at once."""

    def ensure(self, table: TableId, layout: bytes) -> int:
        """Record how values of a table are laid out; equal layouts of a table have one number, counted from 0.

        Once a number is given for a layout it is never given to another, so that every stored value stays readable.
        """
        ...

    def layouts(self, table: TableId) -> list[bytes]:
        """All layouts of a table, by number."""
        ...

    def write(
        self, table: TableId, rows: Sequence[tuple[bytes, bytes]], *, expire_after: int | None = None
    ) -> WriteResult:
        """Store rows of (key, value), each only if its rank is at least the stored one, atomically per row.

        All of a call's rows are durable when it returns. ``expire_after`` in microseconds lets the store forget a
        row no earlier than event time + that span; None keeps it.
        """
        ...

    def read(self, table: TableId, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in their order; None where nothing is stored."""
        ...

    def drop(self, table: TableId) -> int:
        """Forget all rows and the mark of a table; how many rows there were.

        Layouts stay: a reader that learned a number must never see it mean another layout.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class Marks(Protocol):
    """A store that remembers how far each table was materialised, beside the rows, so that both are lost together."""

    def read_mark(self, table: TableId) -> bytes | None:
        """The mark of a table, or None."""
        ...

    def write_mark(self, table: TableId, mark: bytes | None) -> None:
        """Replace the mark; None clears it."""
        ...

    def replace_mark(self, table: TableId, old: bytes, new: bytes) -> bool:
        """Replace the mark if it is ``old``, in one step; whether it was."""
        ...


@runtime_checkable
class AsyncReadable(Protocol):
    """A store beyond a network, which answers reads of many tables in one round trip without blocking a thread."""

    async def read_async(self, wanted: Sequence[tuple[TableId, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """The values of every table's keys, as :meth:`OnlineStore.read` gives them, in the order of ``wanted``.

        Every event loop has connections of its own. Unavailable where the store does not answer in time.
        """
        ...


@runtime_checkable
class Scannable(Protocol):
    """A store whose rows can be listed: for verification, repair and sweeping."""

    def scan(self, table: TableId) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a table, in no promised order."""
        ...

    def delete(self, table: TableId, keys: Sequence[bytes]) -> int:
        """Remove rows outright, whatever their rank; how many there were."""
        ...


@runtime_checkable
class Comparable(Protocol):
    """A store that can be compared with the history, and mended where it differs."""

    def keys(self, table: TableId) -> Iterator[list[bytes]]:
        """The keys of a table's rows, page after page, in no promised order; a key may come twice.

        Rows that are written or removed meanwhile may be among them or not. Memory is bound by the page.
        """
        ...

    def delete_if(self, table: TableId, rows: Sequence[tuple[bytes, bytes]]) -> int:
        """Remove the rows of (key, value) whose value is still just that, each in one step; how many there were."""
        ...


@runtime_checkable
class Sweepable(Protocol):
    """A store that is told when to forget what has expired, since it does not do so by itself."""

    def sweep(self, now: int) -> int:
        """Remove the rows past their event time + the ``expire_after`` last written for their table; how many."""
        ...


@runtime_checkable
class Purgeable(Protocol):
    """A store whose files may hold for a while what was deleted."""

    def purge(self) -> str:
        """Leave nothing of deleted rows in the store's files; what could not be done of it, empty where all was."""
        ...


@runtime_checkable
class Replaceable(Protocol):
    """A store that lies where it can be deleted or replaced while it is open."""

    def is_replaced(self) -> bool:
        """Whether what was opened is no longer what is there.

        Then it must be opened anew, and all that learned of it, such as plans of reads, must be made anew.
        """
        ...
