"""How the rows of all tables lie in one LMDB file, and the work of one transaction upon them.

Keys begin with the table's number, 4 bytes, given once and never to another table, so that no two tables meet and a
cached number stays right. A key too long for LMDB stands as its SHA-256 under the next number, and itself behind its
value. Number 0 holds what the store knows of itself, each name ended by a zero byte::

    format                     the version of this arrangement
    next                       the number for the next new table
    wiped                      what changes where a commit needs a change
    table <hash>               number, project and table
    layout <number> <index>    a layout
    mark <number>              how far the table was materialised
    expire <number>            the span after which its rows may be swept, in microseconds

The functions take a transaction of py-lmdb; those that only read also take one that yields buffers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

from tiffin.errors import CorruptData
from tiffin.online.base import RANK_BYTES, TableId
from tiffin.online.environment import WIPED
from tiffin.online.layout import event_time

#: The version of the arrangement of keys told above.
FORMAT: Final = b"1"
#: A write transaction holds at most so many rows and about so many bytes, so that other writers get their turn.
BATCH_ROWS: Final = 40_000
BATCH_BYTES: Final = 32 << 20
#: So many keys are looked at in one read transaction: a long one would keep the file from reusing its pages.
PAGE_ROWS: Final = 5_000

NUMBER_BYTES: Final = 4
#: LMDB's own limit, less the number.
KEY_LIMIT: Final = 511 - NUMBER_BYTES

_OWN: Final = bytes(NUMBER_BYTES)
_FIRST_NUMBER: Final = (2).to_bytes(NUMBER_BYTES, "big")

Row = tuple[bytes, bytes]
Make = Callable[[bytes, Any], tuple[bytes, Any]]
"""What a page holds of a row, from its key in the file and its value."""


def find_prefix(transaction: Any, table: TableId) -> bytes | None:
    """The bytes that a table's keys begin with, None for a table that was never written."""
    _check_format(transaction)
    record = transaction.get(_table_key(table))
    return None if record is None else bytes(record[:NUMBER_BYTES])


def is_used(transaction: Any) -> bool:
    """Whether anything was ever written to the file."""
    return transaction.get(_own_key(b"format")) is not None


def touch(transaction: Any) -> None:
    """Change what nothing depends on."""
    transaction.put(WIPED, os.urandom(8))


def allocate_prefix(transaction: Any, table: TableId) -> bytes:
    """As :func:`find_prefix`, given now if the table has none."""
    found = find_prefix(transaction, table)
    if found is not None:
        return found
    transaction.put(_own_key(b"format"), FORMAT)
    number = int.from_bytes(transaction.get(_own_key(b"next")) or _FIRST_NUMBER, "big")
    # Two numbers a table: the second is for keys too long for LMDB.
    transaction.put(_own_key(b"next"), (number + 2).to_bytes(NUMBER_BYTES, "big"))
    prefix = number.to_bytes(NUMBER_BYTES, "big")
    transaction.put(_table_key(table), prefix + f"{table.project}/{table.table}".encode())
    return prefix


def _check_format(transaction: Any) -> None:
    found = transaction.get(_own_key(b"format"))
    if found is None and transaction.stat()["entries"]:
        raise CorruptData("The LMDB file of the online store holds something else.", hint="Choose another folder.")
    if found is not None and bytes(found) != FORMAT:
        raise CorruptData(
            f"The online store has format {bytes(found)!r}, this is format {FORMAT!r}.",
            hint="It was written by a newer Tiffin: upgrade this one, or materialize into a new folder.",
        )


def _own_key(name: bytes, prefix: bytes = b"") -> bytes:
    """A key of the store's own records."""
    return _OWN + name + b"\0" + prefix


def _table_key(table: TableId) -> bytes:
    # The length keeps apart what a separator might not: ("a/b", "c") and ("a", "b/c").
    name = f"{len(table.project)}/{table.project}/{table.table}"
    return _own_key(b"table", sha256(name.encode()).digest())


def _layout_key(prefix: bytes, index: int) -> bytes:
    return _own_key(b"layout", prefix + index.to_bytes(NUMBER_BYTES, "big"))


def read_layouts(transaction: Any, prefix: bytes) -> list[bytes]:
    """A table's layouts by number."""
    found: list[bytes] = []
    while (layout := transaction.get(_layout_key(prefix, len(found)))) is not None:
        found.append(bytes(layout))
    return found


def add_layout(transaction: Any, table: TableId, layout: bytes) -> tuple[bytes, int]:
    """The table's prefix and the number of a layout, given now if it has none."""
    prefix = allocate_prefix(transaction, table)
    known = read_layouts(transaction, prefix)
    if layout in known:
        return prefix, known.index(layout)
    transaction.put(_layout_key(prefix, len(known)), layout)
    return prefix, len(known)


def mark_key(prefix: bytes) -> bytes:
    """Where a table's mark stands."""
    return _own_key(b"mark", prefix)


def write_mark(transaction: Any, table: TableId, mark: bytes | None) -> bytes:
    """Replace a table's mark, None clears it; the table's prefix."""
    prefix = allocate_prefix(transaction, table)
    _set(transaction, mark_key(prefix), mark)
    return prefix


def replace_mark(transaction: Any, prefix: bytes, old: bytes, new: bytes) -> bool:
    """Replace a table's mark if it is ``old``; whether it was."""
    key = mark_key(prefix)
    if transaction.get(key) != old:
        return False
    transaction.put(key, new)
    return True


def forget_marks(transaction: Any, prefix: bytes) -> None:
    """Clear the mark and the span of a table."""
    _set(transaction, mark_key(prefix), None)
    _set(transaction, _own_key(b"expire", prefix), None)


def _set(transaction: Any, key: bytes, value: bytes | None) -> None:
    """Make a record be ``value``, or not be; untouched where it is so already."""
    if transaction.get(key) == value:
        return
    if value is None:
        transaction.delete(key)
    else:
        transaction.put(key, value)


def read_spans(transaction: Any) -> list[tuple[bytes, int]]:
    """The prefixes of the tables whose rows expire, and after which span."""
    start = _own_key(b"expire")
    cursor = transaction.cursor()
    found: list[tuple[bytes, int]] = []
    more = cursor.set_range(start)
    while more and bytes(cursor.key()).startswith(start):
        found.append((bytes(cursor.key())[len(start) :], int.from_bytes(cursor.value(), "big")))
        more = cursor.next()
    return found


def stored_key(prefix: bytes, key: bytes) -> bytes:
    """The key in the file of a key of a table."""
    if len(key) <= KEY_LIMIT:
        return prefix + key
    return _following(prefix) + sha256(key).digest()


def _following(prefix: bytes) -> bytes:
    return (int.from_bytes(prefix, "big") + 1).to_bytes(NUMBER_BYTES, "big")


def batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows by key, which LMDB stores fastest, in batches; rows of one key stay in their order."""
    ordered = sorted(rows, key=itemgetter(0))
    start = size = 0
    for position, (key, value) in enumerate(ordered):
        size += len(key) + len(value)
        if size >= BATCH_BYTES or position - start + 1 == BATCH_ROWS:
            yield ordered[start : position + 1]
            start, size = position + 1, 0
    if start < len(ordered):
        yield ordered[start:]


def stored_row(prefix: bytes, key: bytes, value: bytes) -> Row:
    """A row as it stands in the file."""
    if len(key) <= KEY_LIMIT:
        return prefix + key, value
    return stored_key(prefix, key), value + key + len(key).to_bytes(NUMBER_BYTES, "big")


def write_rows(transaction: Any, *, table: TableId, rows: Sequence[Row], expire_after: int | None) -> tuple[bytes, int]:
    """Store the rows whose rank is at least the stored one; the table's prefix, and how many."""
    prefix = allocate_prefix(transaction, table)
    _set(transaction, _own_key(b"expire", prefix), None if expire_after is None else expire_after.to_bytes(8, "big"))
    get, put = transaction.get, transaction.put
    written = 0
    for key, value in rows:
        stored, data = (prefix + key, value) if len(key) <= KEY_LIMIT else stored_row(prefix, key, value)
        old = get(stored)
        if old is None or data[:RANK_BYTES] >= old[:RANK_BYTES]:
            put(stored, data)
            written += 1
    return prefix, written


def read_page(
    transaction: Any, *, prefix: bytes, after: bytes, make: Make
) -> tuple[list[tuple[bytes, Any]], bytes | None]:
    """What ``make`` gives for the next rows of a table, and the key to go on after, None at the end."""
    end = _following(_following(prefix))
    cursor = transaction.cursor()
    more = cursor.set_range(after)
    if more and after != prefix and bytes(cursor.key()) == after:
        more = cursor.next()
    page: list[tuple[bytes, Any]] = []
    size = 0
    while more:
        key = bytes(cursor.key())
        if key >= end:
            return page, None
        value = cursor.value()
        size += len(value)
        page.append(make(key, value))
        if len(page) == PAGE_ROWS or size >= BATCH_BYTES:
            return page, key
        more = cursor.next()
    return page, None


def as_row(stored: bytes, value: Any) -> Row:
    """A row as it was given, a long key taken from behind its value."""
    data = bytes(value)
    if stored[NUMBER_BYTES - 1] % 2 == 0:
        return stored[NUMBER_BYTES:], data
    length = int.from_bytes(data[-NUMBER_BYTES:], "big")
    end = len(data) - NUMBER_BYTES - length
    return data[end:-NUMBER_BYTES], data[:end]


def as_key(stored: bytes, value: Any) -> tuple[bytes, None]:
    """A row's key as it was given."""
    return (stored[NUMBER_BYTES:] if stored[NUMBER_BYTES - 1] % 2 == 0 else as_row(stored, value)[0]), None


def as_event(stored: bytes, value: Any) -> tuple[bytes, int]:
    """A row's key in the file and its event time."""
    return stored, event_time(value)


def delete_first(transaction: Any, prefix: bytes, limit: int = BATCH_ROWS) -> int:
    """Delete the first rows of a table; how many."""
    end = _following(_following(prefix))
    cursor = transaction.cursor()
    deleted = 0
    more = cursor.set_range(prefix)
    while more and deleted < limit and cursor.key() < end:
        cursor.delete()
        deleted += 1
        more = bool(cursor.key())
    return deleted


def delete_rows(transaction: Any, *, rows: Sequence[Row]) -> int:
    """Delete rows that are still just as they are given, as they stand in the file; how many."""
    return sum(transaction.get(key) == value and transaction.delete(key) for key, value in rows)


def delete_keys(transaction: Any, *, keys: Sequence[bytes], before: int | None = None) -> int:
    """Delete rows by their keys in the file, only those of events ``before`` an instant if one is given; how many."""
    deleted = 0
    for key in keys:
        value = transaction.get(key)
        if value is not None and (before is None or event_time(value) < before):
            transaction.delete(key)
            deleted += 1
    return deleted
