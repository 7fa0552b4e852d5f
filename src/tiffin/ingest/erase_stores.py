"""Places of erasure, the stores: the history of a table, its online rows, and the files of the online store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Final

from msgspec.structs import replace

from tiffin.definitions.schema import Column, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import Unsupported
from tiffin.ingest import marks
from tiffin.ingest.erase import Done, Subject, Work
from tiffin.offline.base import Position
from tiffin.offline.brought import with_rows
from tiffin.offline.delta import open_table
from tiffin.offline.expunge import expunge
from tiffin.offline.lake import identity
from tiffin.offline.ledger import commits_after
from tiffin.offline.location import is_glob, normalise
from tiffin.online.base import Marks, OnlineStore, Purgeable, Scannable, TableId
from tiffin.online.codec import key_signature
from tiffin.online.layout import OFFSET_BYTES
from tiffin.types import TYPE_NAMES

#: Keys that are removed at once.
_BATCH: Final = 10_000

Open = Callable[[], OnlineStore]
"""Opens the online store; one of Tiffin's errors where it is away."""


class HistoryPlace:
    """The batch source of one table. ``pinned`` versions of it stay, since tables read them."""

    settles = False

    def __init__(self, table: TableSchema, name: str, pinned: Collection[int] = ()) -> None:
        self.name = name
        self._table = table
        self._pinned = frozenset(pinned)

    def erase(self, work: Work) -> Done:
        subject = work.subject
        rows, left = expunge(
            self._table,
            subject.column.name,
            subject.gone,
            work.fence,
            pinned=self._pinned,
            dry_run=work.dry_run,
            control=work.control,
        )
        return Done(rows, left)


class OnlinePlace:
    """The online rows of one table, given as all of its revisions had it that have the entity, the newest first.

    Rows of one entity are removed by their keys; those of several are looked for among all rows of the table.
    """

    settles = True

    def __init__(self, opened: Open, revisions: Sequence[TableSchema]) -> None:
        table = revisions[0]
        self.name = f"online {table.name}"
        self._open = opened
        self._table = table
        self._id = TableId(table.project, table.name)
        self.deleted = 0
        self._keys = {key_signature(each.keys): sorted(each.keys, key=lambda column: column.name) for each in revisions}

    def erase(self, work: Work) -> Done:
        store, subject = self._open(), work.subject
        if not work.dry_run and isinstance(store, Marks):
            marks.fence(store, self._table, work.fence)
        if not isinstance(store, Scannable):
            raise Unsupported(f"{type(store).__name__} can neither list nor delete its rows.")
        rows = 0
        found = self._found(store, subject)
        while keys := list(islice(found, _BATCH)):
            work.control.check()
            if work.dry_run:
                rows += sum(value is not None for value in store.read(self._id, keys))
            else:
                rows += store.delete(self._id, keys)
        self.deleted += rows
        if not work.dry_run and isinstance(store, Marks):
            _pass_over(store, self._table)
        return Done(rows)

    def _found(self, store: Scannable, subject: Subject) -> Iterator[bytes]:
        """The keys of rows that go, or might be there."""
        if subject.values is not None and all(len(columns) == 1 for columns in self._keys.values()):
            return (signature + part for signature in self._keys for part in sorted(subject.parts))
        return (key for key, _ in store.scan(self._id) if self._is_of(key, subject))

    def _is_of(self, key: bytes, subject: Subject) -> bool:
        start = len(key_signature((subject.column,)))
        columns = self._keys.get(key[:start])
        return columns is not None and subject.has(_part(key, start, columns, subject.column.name))


def _pass_over(store: OnlineStore, table: TableSchema) -> None:
    """Move the mark over commits without new rows, such as the erasure's own: nobody need look at them."""
    source = table.source
    if not isinstance(source, FileSource):
        return
    uri = normalise(source.file_url)
    opened = None if is_glob(uri) else open_table(uri)
    if opened is None:
        return
    now = Position(identity(uri, opened), opened.version())

    def passed(seen: Position | None) -> Position | None:
        if seen is None or seen.identity != now.identity:
            return seen
        commits = commits_after(uri, opened, seen.version)
        return now if commits.complete and not any(map(with_rows, commits.entries)) else seen

    def change(mark: marks.Mark) -> marks.Mark:
        return replace(mark, position=passed(mark.position), looked=passed(mark.looked))

    marks.update(store, table, change)


def _part(key: bytes, place: int, columns: Sequence[Column], entity: str) -> bytes:
    """The bytes of one entity's value in a key, whose values stand in the order of ``columns`` from ``place`` on."""
    for column in columns:
        width = TYPE_NAMES[column.dtype].width
        if not width and column is columns[-1]:
            width = len(key) - place
        elif not width:
            width = int.from_bytes(key[place : place + OFFSET_BYTES], "big")
            place += OFFSET_BYTES
        if column.name == entity:
            return key[place : place + width]
        place += width
    return b""


class OnlineFiles:
    """What the online store's own files keep of rows that were deleted. Asked after its tables."""

    name = "files of the online store"
    settles = True

    def __init__(self, opened: Open, tables: Sequence[OnlinePlace]) -> None:
        self._open = opened
        self._tables = tables
        self._purged = -1

    def erase(self, work: Work) -> Done:
        store = self._open()
        deleted = sum(table.deleted for table in self._tables)
        if work.dry_run or deleted == self._purged:
            return Done()
        self._purged = deleted
        if not isinstance(store, Purgeable):
            return Done(left=(f"{type(store).__name__} does not say what its files keep of deleted rows",))
        undone = store.purge()
        return Done(left=(undone,) if undone else ())
