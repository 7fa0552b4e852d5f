"""A stream of JSON messages in memory, a table in a folder, and looks at what came of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from tests.ingest.lakes import stored
from tests.ingest.routes import ID, KEY, SECOND, A
from tiffin import FileSource, KafkaSource, clock
from tiffin.control import Control
from tiffin.data_format import JsonFormat, ParquetFormat
from tiffin.definitions.schema import TableSchema
from tiffin.errors import JobCancelled
from tiffin.ingest.materialize import Route
from tiffin.ingest.stream import Means, Pace, StreamIngestion
from tiffin.ingest.stream_columns import Feed
from tiffin.ingest.stream_letters import LetterFiles
from tiffin.offline.polars import PolarsEngine
from tiffin.online.layout import event_time, is_tombstone
from tiffin.online.lmdb import LmdbStore
from tiffin.stream.base import Partitions, StreamSource
from tiffin.stream.memory import MemoryBroker

TOPIC = "events"
GROUP = "g"
#: The present of tests, more or less: messages lie before it.
NOW = clock.now()


def feed_in(folder: Path, *, to_offline: bool = True, created: str = "made", **changes: Any) -> Feed:
    batch = FileSource("at", ParquetFormat(), str(folder / "history"), created)
    given: dict[str, Any] = {"project": "default", "name": "t", "keys": (KEY,), "features": (A,), "source": batch}
    source = KafkaSource("at", "127.0.0.1:1", JsonFormat(), TOPIC, created)
    return Feed(TableSchema(**(given | changes)), source, to_offline)


def message(key: int | None, at: int, value: Any, **more: Any) -> bytes:
    """A row of (key, event time in UTC microseconds, a)."""
    return json.dumps({"k": key, "at": clock.to_iso(at), "a": value, **more}).encode()


class Watched(Control):
    """A control that remembers what it was told, and stops when ``enough`` says so, or when it was told to."""

    def __init__(self, enough: Callable[[], bool] = lambda: False) -> None:
        self.lines: list[str] = []
        self.stop = threading.Event()
        self.state: tuple[int, int | None] = (0, None)
        self.seen: tuple[int, ...] = ()
        self._enough = enough

    def check(self) -> None:
        if self.stop.is_set() or self._enough():
            raise JobCancelled("enough")

    def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
        self.state = (done, total)

    def rows(self, written: int, skipped: int = 0, rejected: int = 0) -> None:
        self.seen = (written, skipped, rejected)

    def log(self, line: str) -> None:
        self.lines.append(line)


class Scene:
    """A broker, a table's folder and store, and consumers."""

    def __init__(self, folder: Path, feed: Feed | None = None, *, partitions: int = 1) -> None:
        self.folder = folder
        self.feed = feed or feed_in(folder)
        self.broker = MemoryBroker()
        self.broker.create_topic(TOPIC, partitions)
        self.store = LmdbStore(str(folder / "online"))
        self.route = Route(PolarsEngine(), self.store)
        self.pace = Pace(rows=100, seconds=0.01)

    def send(self, *values: bytes | None, partition: int = 0, timestamp: int = NOW) -> None:
        for value in values:
            self.broker.produce(TOPIC, value, partition=partition, timestamp=timestamp)

    def open(self, _: Feed, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        return self.broker.open_source(TOPIC, group=GROUP, on_assign=on_assign, on_revoke=on_revoke)

    def means(self, **changes: Any) -> Means:
        root = str(self.folder / "dead")
        means = Means(
            self.route,
            GROUP,
            self.open,
            lambda feed: LetterFiles(root, feed.table.project, feed.table.name),
            str(self.folder / "staging"),
            60 * SECOND,
            self.pace,
        )
        return means._replace(**changes)

    def consumer(self, **changes: Any) -> StreamIngestion:
        return StreamIngestion(lambda: self.feed, self.means(**changes))

    def drain(self, consumer: StreamIngestion | None = None, **changes: Any) -> Watched:
        """Let a consumer run until the broker has been told that everything is stored."""
        deadline = time.monotonic() + 15
        control = Watched(lambda: self.is_drained() or time.monotonic() > deadline)
        with_end(consumer or self.consumer(**changes), control)
        assert self.is_drained(), control.lines
        return control

    def is_drained(self) -> bool:
        ends = {name: len(log) for name, log in self.broker.logs.items() if log}
        return ends.items() <= self.broker.committed(GROUP).items()

    @contextmanager
    def running(self, consumer: StreamIngestion | None = None, *, named: Any = None) -> Iterator[Watched]:
        """A consumer in a thread while the block lasts; the thread is told to ``named``."""
        control = Watched()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                with_end(consumer or self.consumer(), control)
            except BaseException as error:  # noqa: BLE001  # the thread hands it over
                failed.append(error)

        thread = threading.Thread(target=run)
        if named is not None:
            named.thread = thread
        thread.start()
        try:
            yield control
        finally:
            control.stop.set()
            thread.join(20)
        assert not failed, failed

    def offline(self) -> list[Any]:
        """The values of the feature in the files, in the order of commits, by a reader of the log's text."""
        frame = stored(self.folder / "history")
        return [] if frame.is_empty() else frame["a"].to_list()

    def online(self) -> dict[int, int | None]:
        """The event time of every key in the store, None for tombstones, read from the bytes themselves."""
        return {
            int.from_bytes(key[4:], "big", signed=True): None if is_tombstone(value) else event_time(value)
            for key, value in self.store.scan(ID)
        }

    def letters(self) -> pl.DataFrame:
        """All dead letters, each file read by itself."""
        files = sorted((self.folder / "dead").rglob("*.parquet"))
        return pl.concat([pl.read_parquet(file) for file in files], how="diagonal_relaxed") if files else pl.DataFrame()

    def close(self) -> None:
        self.store.close()


def with_end(consumer: StreamIngestion, control: Control) -> None:
    try:
        consumer.run(control)
    except JobCancelled:
        return
