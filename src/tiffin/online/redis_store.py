"""The store on Redis: rows by rank, layouts, marks, and walks over all rows."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from tiffin.errors import EvictionWarning, FailedPrecondition, StorageError
from tiffin.online.base import TableId, WriteResult
from tiffin.online.redis_address import Address
from tiffin.online.redis_async import AsyncReader
from tiffin.online.redis_errors import DRIVER, is_dropped, translated
from tiffin.online.redis_keys import Keys
from tiffin.online.redis_link import START, Command, Link, Place, connect
from tiffin.online.redis_scripts import DELETE_IF, ENSURE, REPLACE, WRITE

Row = tuple[bytes, bytes]
T = TypeVar("T")

#: Rows, and about how many bytes of them, that one call of the script stores: nobody else is served meanwhile.
BATCH_ROWS: Final = 200
BATCH_BYTES: Final = 256 << 10
#: So many rows are turned into commands at a time, which bounds memory whatever a caller hands over.
CHUNK_ROWS: Final = 5_000
#: Seconds that Redis may take to write its files anew, when it is asked to.
PERSIST_PATIENCE_S: Final = 120.0
#: What a server tells of that has a dump on its disk, or had one.
_DUMPED: Final = ("rdb_saves", "rdb_last_load_keys_loaded")


class RedisStore:
    """Rows in Redis. Safe to use from several threads, and after a fork."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._keys: dict[TableId, Keys] = {}
        self._looked = False
        self._closed = False
        self._pid = os.getpid()
        self._link, self._reader = connect(self._address), AsyncReader(self._address)

    def __repr__(self) -> str:
        return f"RedisStore({self._address})"

    def ensure(self, table: TableId, layout: bytes) -> int:
        self._warn_of_eviction()
        key = self._keys_of(table).layouts
        number: int = self._call(key, b"EVALSHA", ENSURE.sha, 1, key, layout)
        return number

    def layouts(self, table: TableId) -> list[bytes]:
        key = self._keys_of(table).layouts
        found: list[bytes] = self._call(key, b"LRANGE", key, 0, -1)
        return found

    def write(self, table: TableId, rows: Sequence[Row], *, expire_after: int | None = None) -> WriteResult:
        prefix = self._keys_of(table).rows
        # In milliseconds, rounded up: a row is kept too long rather than too short.
        span = b"" if expire_after is None else b"%d" % -(-expire_after // 1000)
        written = 0
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            written += sum(self._run(lambda link, part=chunk: link.run(_writes(link, prefix, span, part))))  # type: ignore[misc]  # bound now
        return WriteResult(written, len(rows) - written)

    def read(self, table: TableId, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        prefix = self._keys_of(table).rows
        wanted = [prefix + key for key in keys]
        return self._run(lambda link: link.read(wanted))

    async def read_async(self, wanted: Sequence[tuple[TableId, Sequence[bytes]]]) -> list[list[bytes | None]]:
        keys: list[bytes] = []
        for table, asked in wanted:
            prefix = self._keys_of(table).rows
            keys += [prefix + key for key in asked]
        if not keys:  # a request of null keys alone, which no command of Redis takes
            return [[] for _ in wanted]
        self._opened()
        with translated(self._address):
            found = iter(await self._reader.read(keys))
        return [[next(found) for _ in asked] for _, asked in wanted]

    def drop(self, table: TableId) -> int:
        # The mark goes first: a drop cut short must not leave one that claims rows which are gone.
        self.write_mark(table, None)
        return sum(self._unlink(page) for page in self._pages(table))

    def read_mark(self, table: TableId) -> bytes | None:
        key = self._keys_of(table).mark
        found: bytes | None = self._call(key, b"GET", key)
        return found

    def write_mark(self, table: TableId, mark: bytes | None) -> None:
        key = self._keys_of(table).mark
        if mark is None:
            self._call(key, b"UNLINK", key)
        else:
            self._call(key, b"SET", key, mark)

    def replace_mark(self, table: TableId, old: bytes, new: bytes) -> bool:
        key = self._keys_of(table).mark
        # Not tried again: the first try may have done it, and the second would say that another had.
        command = (key, (b"EVALSHA", REPLACE.sha, 1, key, old, new))
        [replaced] = self._run(lambda link: link.run([command]), again=False)
        return bool(replaced)

    def scan(self, table: TableId) -> Iterator[Row]:
        start = len(self._keys_of(table).rows)
        # Redis may name a key twice while it resizes its table.
        seen: set[bytes] = set()
        for page in self._pages(table):
            fresh = list(dict.fromkeys(key for key in page if key not in seen))
            seen.update(fresh)
            values = self._run(lambda link, keys=fresh: link.read(keys)) if fresh else []  # type: ignore[misc]  # bound now
            for key, value in zip(fresh, values, strict=True):
                if value is not None:
                    yield key[start:], value

    def delete(self, table: TableId, keys: Sequence[bytes]) -> int:
        prefix = self._keys_of(table).rows
        return self._unlink([prefix + key for key in keys])

    def keys(self, table: TableId) -> Iterator[list[bytes]]:
        start = len(self._keys_of(table).rows)
        for page in self._pages(table):
            yield [key[start:] for key in page]

    def delete_if(self, table: TableId, rows: Sequence[Row]) -> int:
        prefix = self._keys_of(table).rows

        def work(link: Link) -> int:
            size = BATCH_ROWS if link.takes_many else 1
            parts = (rows[start : start + size] for start in range(0, len(rows), size))
            return sum(link.run([_delete_if(prefix, part) for part in parts]))

        return self._run(work) if rows else 0

    def purge(self) -> str:
        try:
            told = self._run(lambda link: link.info("persistence"))
            # A server that never wrote a dump, nor read one, is not made to leave one behind.
            if any(info.get(name, 0) > 0 for info in told for name in _DUMPED):
                self._persisted("BGSAVE")
            if any(info.get("aof_enabled") for info in told):
                self._persisted("BGREWRITEAOF")
        except StorageError:
            return (
                f"Redis at {self._address} keeps deleted rows in its dump and append-only file until it writes them "
                "anew: this user may not, or could not, have it do so now (BGSAVE, BGREWRITEAOF)"
            )
        return ""

    def _persisted(self, command: str) -> None:
        """Have every master write its file anew, and wait for it; StorageError where it does not."""
        self._idle()
        self._run(lambda link: link.tell(command), again=False)
        self._idle()

    def _idle(self) -> None:
        deadline = time.monotonic() + PERSIST_PATIENCE_S
        while any(
            told.get(name)
            for told in self._run(lambda link: link.info("persistence"))
            for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
        ):
            if time.monotonic() > deadline:
                raise StorageError(f"Redis at {self._address} is still writing its files.")
            time.sleep(0.02)

    def close(self) -> None:
        self._closed = True
        self._link.close()
        self._reader.close()

    def _keys_of(self, table: TableId) -> Keys:
        found = self._keys.get(table)
        if found is None:
            found = self._keys[table] = Keys(self._address.prefix, table)
        return found

    def _pages(self, table: TableId) -> Iterator[list[bytes]]:
        pattern = self._keys_of(table).pattern
        place: Place | None = START
        while place is not None:
            keys, place = self._run(lambda link, at=place: link.scan(pattern, at))  # type: ignore[misc]  # bound now
            yield keys

    def _unlink(self, keys: Sequence[bytes]) -> int:
        def work(link: Link) -> int:
            step = BATCH_ROWS if link.takes_many else 1
            parts = (keys[start : start + step] for start in range(0, len(keys), step))
            return sum(link.run([(part[0], (b"UNLINK", *part)) for part in parts]))

        return self._run(work) if keys else 0

    def _call(self, key: bytes, *command: Any) -> Any:
        return self._run(lambda link: link.run([(key, command)]))[0]

    def _run(self, work: Callable[[Link], T], *, again: bool = True) -> T:
        """Do work; where the connection is lost, look at who is where, and do it ``again``."""
        link = self._opened()
        with translated(self._address):
            try:
                return work(link)
            except DRIVER as error:
                if not is_dropped(error):
                    raise
                with suppress(*DRIVER):
                    link.refresh()
                if not again:
                    raise
            return work(link)

    def _opened(self) -> Link:
        if self._closed:
            raise FailedPrecondition(f"The online store at {self._address} is closed.", hint="Open it again.")
        if self._pid != os.getpid():
            # A child of a fork: the connections are the parent's. Those of its event loops must not be collected, for
            # they would try to close themselves in a loop that does not run here.
            self._inherited = self._reader
            self._link, self._reader = connect(self._address), AsyncReader(self._address)
            self._pid = os.getpid()
        return self._link

    def _warn_of_eviction(self) -> None:
        """Say once that the server may throw rows away, where it says so itself."""
        if self._looked:
            return
        self._looked = True
        # A user that may not ask for it is not told.
        with suppress(StorageError):
            told = self._run(lambda link: link.info("memory"))
            policies = {str(info["maxmemory_policy"]) for info in told if info["maxmemory"]} - {"noeviction"}
            if policies:
                warnings.warn(
                    f"Redis at {self._address} throws keys away when it is full (maxmemory-policy {min(policies)}): "
                    "rows may vanish, and marks with them. Set maxmemory-policy to noeviction.",
                    EvictionWarning,
                    stacklevel=3,
                )


def _writes(link: Link, prefix: bytes, span: bytes, rows: Sequence[Row]) -> list[Command]:
    """The commands that store rows, as many rows in each as the link takes."""
    if not link.takes_many:
        sha = WRITE.sha
        return [(key, (b"EVALSHA", sha, 1, key, span, value)) for key, value in ((prefix + k, v) for k, v in rows)]
    return [_write(prefix, span, batch) for batch in _batches(rows)]


def _write(prefix: bytes, span: bytes, rows: Sequence[Row]) -> Command:
    keys = [prefix + key for key, _ in rows]
    return keys[0], (b"EVALSHA", WRITE.sha, len(keys), *keys, span, *(value for _, value in rows))


def _delete_if(prefix: bytes, rows: Sequence[Row]) -> Command:
    keys = [prefix + key for key, _ in rows]
    return keys[0], (b"EVALSHA", DELETE_IF.sha, len(keys), *keys, *(value for _, value in rows))


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = size = 0
    for position, (key, value) in enumerate(rows):
        size += len(key) + len(value)
        if size >= BATCH_BYTES or position - start + 1 == BATCH_ROWS:
            yield rows[start : position + 1]
            start, size = position + 1, 0
    if start < len(rows):
        yield rows[start:]
