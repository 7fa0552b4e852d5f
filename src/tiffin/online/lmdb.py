"""The embedded store: one LMDB file, many reading processes, one writer at a time, whole after a SIGKILL."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tiffin.errors import FailedPrecondition, InvalidConfig
from tiffin.online import keyspace
from tiffin.online.base import TableId, WriteResult
from tiffin.online.environment import MAP_SIZE, Environment, acquire

Row = tuple[bytes, bytes]

#: Seconds that wiping waits for readers.
WIPE_PATIENCE_S: Final = 5.0


def open_store(uri: str) -> LmdbStore:
    """The store ``lmdb:///path/of/folder``, made by its first write.

    ``?map_size=`` gives the first size of its map in bytes; it grows by itself.
    """
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    size = options.pop("map_size", str(MAP_SIZE))
    if parts.scheme != "lmdb" or parts.netloc or not parts.path.strip("/") or options or not size.isdigit():
        raise InvalidConfig(
            f"{uri!r} names no LMDB store.", field="online_store", hint="Write lmdb:///path/of/a/folder, absolute."
        )
    return LmdbStore(unquote(parts.path), map_size=int(size))


class LmdbStore:
    """Rows in an LMDB file in the folder ``path``, which need not exist before the first write."""

    def __init__(self, path: str, *, map_size: int = MAP_SIZE) -> None:
        self._opened: Environment | None = acquire(path, map_size)
        self._path = path
        self._prefixes: dict[TableId, bytes] = {}

    def ensure(self, table: TableId, layout: bytes) -> int:
        known = self.layouts(table)
        if layout in known:
            return known.index(layout)
        self._prefixes[table], number = self._environment.write(
            lambda transaction: keyspace.add_layout(transaction, table, layout)
        )
        return number

    def layouts(self, table: TableId) -> list[bytes]:
        prefix = self._prefix(table)
        if prefix is None:
            return []
        return self._environment.read(lambda transaction: keyspace.read_layouts(transaction, prefix)) or []

    def write(self, table: TableId, rows: Sequence[Row], *, expire_after: int | None = None) -> WriteResult:
        result = WriteResult()
        for batch in keyspace.batches(rows):
            work = partial(keyspace.write_rows, table=table, rows=batch, expire_after=expire_after)
            self._prefixes[table], written = self._environment.write(work)
            result += WriteResult(written, len(batch) - written)
        return result

    def read(self, table: TableId, keys: Sequence[bytes]) -> list[bytes | None]:
        prefix = self._prefixes.get(table) or self._prefix(table)
        if prefix is None:
            return [None] * len(keys)
        if max(map(len, keys), default=0) > keyspace.KEY_LIMIT:
            return self._read_long(prefix, keys)
        opened = self._opened or self._environment
        return opened.get(prefix, keys)

    def _read_long(self, prefix: bytes, keys: Sequence[bytes]) -> list[bytes | None]:
        """As :meth:`read`, where some keys are longer than LMDB takes."""
        stored = [keyspace.stored_key(prefix, key) for key in keys]
        found = self._environment.get(b"", stored)
        return [
            None if value is None else keyspace.as_row(key, value)[1] for key, value in zip(stored, found, strict=True)
        ]

    def drop(self, table: TableId) -> int:
        prefix = self._prefix(table)
        if prefix is None:
            return 0
        # The mark goes first: a drop cut short must not leave one that claims rows which are gone.
        self._environment.write(lambda transaction: keyspace.forget_marks(transaction, prefix))
        dropped = 0
        while removed := self._environment.write(lambda transaction: keyspace.delete_first(transaction, prefix)):
            dropped += removed
        return dropped

    def read_mark(self, table: TableId) -> bytes | None:
        prefix = self._prefix(table)
        return None if prefix is None else self._environment.get(b"", [keyspace.mark_key(prefix)])[0]

    def write_mark(self, table: TableId, mark: bytes | None) -> None:
        self._prefixes[table] = self._environment.write(
            lambda transaction: keyspace.write_mark(transaction, table, mark)
        )

    def replace_mark(self, table: TableId, old: bytes, new: bytes) -> bool:
        prefix = self._prefix(table)
        if prefix is None:
            return False
        return self._environment.write(lambda transaction: keyspace.replace_mark(transaction, prefix, old, new))

    def scan(self, table: TableId) -> Iterator[Row]:
        prefix = self._prefix(table)
        if prefix is not None:
            for page in self._pages(prefix, keyspace.as_row):
                yield from page

    def delete(self, table: TableId, keys: Sequence[bytes]) -> int:
        prefix = self._prefix(table)
        if prefix is None:
            return 0
        stored = sorted(keyspace.stored_key(prefix, key) for key in keys)
        deleted = 0
        for start in range(0, len(stored), keyspace.BATCH_ROWS):
            batch = stored[start : start + keyspace.BATCH_ROWS]
            deleted += self._environment.write(partial(keyspace.delete_keys, keys=batch))
        return deleted

    def keys(self, table: TableId) -> Iterator[list[bytes]]:
        prefix = self._prefix(table)
        if prefix is not None:
            for page in self._pages(prefix, keyspace.as_key):
                yield [key for key, _ in page]

    def delete_if(self, table: TableId, rows: Sequence[Row]) -> int:
        prefix = self._prefix(table)
        if prefix is None:
            return 0
        stored = sorted(keyspace.stored_row(prefix, key, value) for key, value in rows)
        deleted = 0
        for start in range(0, len(stored), keyspace.BATCH_ROWS):
            batch = stored[start : start + keyspace.BATCH_ROWS]
            deleted += self._environment.write(partial(keyspace.delete_rows, rows=batch))
        return deleted

    def sweep(self, now: int) -> int:
        spans = self._environment.read(keyspace.read_spans) or []
        swept = 0
        for prefix, span in spans:
            before = now - span
            for page in self._pages(prefix, keyspace.as_event):
                expired = [key for key, event in page if event < before]
                if expired:
                    swept += self._environment.write(partial(keyspace.delete_keys, keys=expired, before=before))
        return swept

    def _pages(self, prefix: bytes, make: keyspace.Make) -> Iterator[list[tuple[bytes, Any]]]:
        """What ``make`` gives for all rows, a page in a transaction of its own after the other."""
        after: bytes | None = prefix
        while after is not None:
            found = self._environment.read(partial(keyspace.read_page, prefix=prefix, after=after, make=make))
            if found is None:
                return
            page, after = found
            yield page

    def purge(self) -> str:
        if not self._environment.read(keyspace.is_used):
            return ""
        deadline = time.monotonic() + WIPE_PATIENCE_S
        while not self._environment.wipe(keyspace.touch):
            if time.monotonic() > deadline:
                return "readers that have been at work for long may still look at pages that hold deleted rows"
            time.sleep(0.05)
        return ""

    def is_replaced(self) -> bool:
        return self._environment.is_replaced()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.release()
            self._opened = None

    @property
    def _environment(self) -> Environment:
        if self._opened is None:
            raise FailedPrecondition(f"The online store {self._path} is closed.", hint="Open it again.")
        return self._opened

    def _prefix(self, table: TableId) -> bytes | None:
        """The bytes that a table's keys begin with; None for a table that was never written."""
        found = self._prefixes.get(table)
        if found is None:
            found = self._environment.read(lambda transaction: keyspace.find_prefix(transaction, table))
            if found is not None:
                self._prefixes[table] = found
        return found
