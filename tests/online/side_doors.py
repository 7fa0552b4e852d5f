"""Looking into a store's files without the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from tiffin.online.base import TableId


@contextmanager
def lmdb_file(place: Path, *, write: bool = False) -> Iterator[lmdb.Transaction]:
    """A transaction on the bare file."""
    environment = lmdb.open(str(place), map_size=1 << 30, create=False)
    try:
        with environment.begin(write=write) as transaction:
            yield transaction
    finally:
        environment.close()


def lmdb_number(transaction: lmdb.Transaction, table: TableId) -> int:
    """The number under which the file holds a table."""
    name = f"{len(table.project)}/{table.project}/{table.table}".encode()
    record = transaction.get(b"\0\0\0\0table\0" + hashlib.sha256(name).digest())
    assert record is not None, f"{table} is not in the file"
    assert record[4:] == f"{table.project}/{table.table}".encode()
    return int.from_bytes(record[:4], "big")


def lmdb_rows(place: Path, table: TableId) -> dict[bytes, bytes]:
    """All rows of a table: short keys as they stand, long ones from behind their values, checked against the hash."""
    found: dict[bytes, bytes] = {}
    with lmdb_file(place) as transaction:
        number = lmdb_number(transaction, table)
        for stored, value in transaction.cursor():
            if stored[:4] == number.to_bytes(4, "big"):
                found[stored[4:]] = value
            elif stored[:4] == (number + 1).to_bytes(4, "big"):
                length = int.from_bytes(value[-4:], "big")
                key = value[-4 - length : -4]
                assert stored[4:] == hashlib.sha256(key).digest()
                found[key] = value[: -4 - length]
    return found
