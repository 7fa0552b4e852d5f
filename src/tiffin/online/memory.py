"""The reference store: dicts and a lock, in this process alone. Slow and obvious; what every store must equal."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from tiffin.errors import InvalidConfig
from tiffin.online.base import RANK_BYTES, TableId, WriteResult
from tiffin.online.layout import event_time

_OPENED: Final[dict[str, MemoryStore]] = {}
_OPENING: Final = threading.Lock()


def open_store(uri: str) -> MemoryStore:
    """The store ``memory://name``: every call with one name in one process gives the same store."""
    parts = urlsplit(uri)
    if parts.scheme != "memory" or not parts.netloc or parts.path.strip("/"):
        raise InvalidConfig(f"{uri!r} names no memory store.", field="online_store", hint="Write memory://name.")
    with _OPENING:
        return _OPENED.setdefault(parts.netloc, MemoryStore())


class MemoryStore:
    """Rows of tables in dicts, kept as long as the process lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[TableId, dict[bytes, bytes]] = {}
        self._layouts: dict[TableId, list[bytes]] = {}
        self._marks: dict[TableId, bytes] = {}
        self._expire_after: dict[TableId, int | None] = {}

    def ensure(self, table: TableId, layout: bytes) -> int:
        with self._lock:
            layouts = self._layouts.setdefault(table, [])
            if layout not in layouts:
                layouts.append(layout)
            return layouts.index(layout)

    def layouts(self, table: TableId) -> list[bytes]:
        with self._lock:
            return list(self._layouts.get(table, ()))

    def write(
        self, table: TableId, rows: Sequence[tuple[bytes, bytes]], *, expire_after: int | None = None
    ) -> WriteResult:
        written = 0
        with self._lock:
            stored = self._rows.setdefault(table, {})
            if rows:
                self._expire_after[table] = expire_after
            for key, value in rows:
                if key not in stored or value[:RANK_BYTES] >= stored[key][:RANK_BYTES]:
                    stored[key] = value
                    written += 1
        return WriteResult(written, len(rows) - written)

    def read(self, table: TableId, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._lock:
            stored = self._rows.get(table, {})
            return [stored.get(key) for key in keys]

    def drop(self, table: TableId) -> int:
        with self._lock:
            self._marks.pop(table, None)
            self._expire_after.pop(table, None)
            return len(self._rows.pop(table, {}))

    def read_mark(self, table: TableId) -> bytes | None:
        with self._lock:
            return self._marks.get(table)

    def write_mark(self, table: TableId, mark: bytes | None) -> None:
        with self._lock:
            if mark is None:
                self._marks.pop(table, None)
            else:
                self._marks[table] = mark

    def replace_mark(self, table: TableId, old: bytes, new: bytes) -> bool:
        with self._lock:
            if self._marks.get(table) != old:
                return False
            self._marks[table] = new
            return True

    def scan(self, table: TableId) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            rows = list(self._rows.get(table, {}).items())
        return iter(rows)

    def delete(self, table: TableId, keys: Sequence[bytes]) -> int:
        with self._lock:
            stored = self._rows.get(table, {})
            return sum(stored.pop(key, None) is not None for key in keys)

    def keys(self, table: TableId) -> Iterator[list[bytes]]:
        with self._lock:
            found = list(self._rows.get(table, {}))
        yield found

    def delete_if(self, table: TableId, rows: Sequence[tuple[bytes, bytes]]) -> int:
        with self._lock:
            stored = self._rows.get(table, {})
            return sum(stored.get(key) == value and stored.pop(key) == value for key, value in rows)

    def sweep(self, now: int) -> int:
        with self._lock:
            return sum(self._sweep(table, now - span) for table, span in self._expire_after.items() if span is not None)

    def _sweep(self, table: TableId, before: int) -> int:
        stored = self._rows[table]
        expired = [key for key, value in stored.items() if event_time(value) < before]
        for key in expired:
            del stored[key]
        return len(expired)

    def close(self) -> None:
        """Nothing: the rows belong to the name, not to whoever opened it."""
