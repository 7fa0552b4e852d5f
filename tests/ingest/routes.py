"""A way from files to an online store, both real, and looks through side doors at what came through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from tiffin import FileSource, ValueType, clock
from tiffin.commit import Commit
from tiffin.data_format import ParquetFormat
from tiffin.definitions.schema import Column, Selection, TableSchema
from tiffin.ingest.batch import ingest
from tiffin.ingest.materialize import Route
from tiffin.offline.polars import PolarsEngine
from tiffin.online.base import OnlineStore, TableId, WriteResult
from tiffin.online.layout import event_time, is_tombstone
from tiffin.online.lmdb import LmdbStore
from tiffin.online.read import ReadPlan

KEY: Final = Column("k", ValueType.INT64, "k")
A: Final = Column("a", ValueType.INT64, "a")
B: Final = Column("b", ValueType.DOUBLE, "b")
ID: Final = TableId("default", "t")
#: Some instant long ago, in UTC microseconds.
THEN: Final = 1_600_000_000_000_000
SECOND: Final = 1_000_000


def table_in(folder: Path, **changes: Any) -> TableSchema:
    source = FileSource("at", ParquetFormat(), str(folder / "history"))
    given: dict[str, Any] = {"project": "default", "name": "t", "keys": (KEY,), "features": (A,), "source": source}
    return TableSchema(**(given | changes))


def rows(*given: tuple[int | None, int, int | None], **more: Sequence[Any]) -> pl.DataFrame:
    """Rows of (key, event time in UTC microseconds, a)."""
    keys, times, values = zip(*given, strict=True)
    return pl.DataFrame(
        {
            "k": pl.Series(keys, dtype=pl.Int64),
            "at": pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "a": pl.Series(values, dtype=pl.Int64),
            **more,
        }
    )


class Ground:
    """One table's folder, engine and store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LmdbStore(str(folder / "online"))
        self.route = Route(PolarsEngine(), self.store)
        self.table = table_in(folder)

    def ingest(self, frame: pl.DataFrame, **options: Any) -> Commit:
        return ingest(self.table, frame, **self.places, **options)

    @property
    def places(self) -> dict[str, str]:
        return {"dead_letters": str(self.folder / "dead"), "staging": str(self.folder / "staging")}

    def stored(self) -> dict[int, int | None]:
        """The event time of every key in the store, None for tombstones, read from the bytes themselves."""
        return {
            int.from_bytes(key[4:], "big", signed=True): None if is_tombstone(value) else event_time(value)
            for key, value in self.store.scan(ID)
        }

    def read(self, *keys: int, features: tuple[Column, ...] = (A,)) -> list[Any]:
        """The first feature's values."""
        plan = ReadPlan(self.store, [Selection(self.table, features, tuple(f.name for f in features))])
        return list(plan.read({"k": list(keys)}).values[0])

    def close(self) -> None:
        self.store.close()


class Breaking:
    """A store that fails once, before or after its n-th write, as a crash there would leave it."""

    def __init__(self, store: OnlineStore, at: int, *, after: bool) -> None:
        self._store = store
        self._at = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, table: TableId, given: Any, *, expire_after: int | None = None) -> WriteResult:
        return self._crashing(lambda: self._store.write(table, given, expire_after=expire_after))

    def delete(self, table: TableId, keys: Sequence[bytes]) -> int:
        return self._crashing(lambda: self._store.delete(table, keys))  # type: ignore[attr-defined]  # as below

    def write_mark(self, table: TableId, mark: bytes | None) -> None:
        self._crashing(lambda: self._store.write_mark(table, mark))  # type: ignore[attr-defined]  # LMDB keeps marks

    def replace_mark(self, table: TableId, old: bytes, new: bytes) -> bool:
        return self._crashing(lambda: self._store.replace_mark(table, old, new))  # type: ignore[attr-defined]  # as above

    def read_mark(self, table: TableId) -> bytes | None:
        found: bytes | None = self._store.read_mark(table)  # type: ignore[attr-defined]  # as above
        return found

    def _crashing(self, work: Any) -> Any:
        self._at -= 1
        if self._at == 0 and not self._after:
            raise Crashed
        result = work()
        if self._at == 0:
            raise Crashed
        return result


class Crashed(BaseException):
    """The end of a process, as far as a test can have one."""


def now_is(monkeypatch: Any, instant: int) -> None:
    """Let it be another time."""
    monkeypatch.setattr(clock, "now", lambda: instant)
