"""A topic of a real broker, consumers in processes of their own that can be killed anywhere, and what must be true."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import polars as pl

from tests.ingest.lakes import stored
from tests.ingest.routes import ID, KEY, SECOND, A
from tests.ingest.streams import Watched, message, with_end
from tests.servers.kafka import KafkaBroker
from tiffin import FileSource, KafkaSource, clock
from tiffin.data_format import JsonFormat, ParquetFormat
from tiffin.definitions.schema import TableSchema
from tiffin.ingest import stream_stores
from tiffin.ingest.materialize import Route
from tiffin.ingest.stream import Means, Pace, StreamIngestion
from tiffin.ingest.stream_columns import Feed
from tiffin.ingest.stream_letters import LetterFiles
from tiffin.ingest.stream_offsets import StreamLog
from tiffin.offline.polars import PolarsEngine
from tiffin.online.base import OnlineStore
from tiffin.online.layout import BIAS
from tiffin.online.lmdb import LmdbStore
from tiffin.stream.base import Partitions, StreamSource
from tiffin.stream.kafka import open_source

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.ingest.stream_world"])

PACE: Final = Pace(10, 0.05)
#: Where a consumer can be killed: after each step of a batch, the last one before the broker is told.
POINTS: Final = ("letters", "history", "online", "mark", "told")
#: A group that shares anew within seconds.
_QUICK: Final = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "max.poll.interval.ms": 6000}
SESSION: Final = {"kafka_options": json.dumps(_QUICK)}


def feed_of(folder: Path, address: str, topic: str, *, to_offline: bool = True) -> Feed:
    batch = FileSource("at", ParquetFormat(), str(folder / "history"), "made")
    table = TableSchema("default", "t", (KEY,), (A,), batch)
    return Feed(table, KafkaSource("at", address, JsonFormat(), topic, "made"), to_offline)


def means_of(folder: Path, store: OnlineStore, group: str, pace: Pace) -> Means:
    def opened(feed: Feed, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        return open_source(feed.source, group=group, options=SESSION, on_assign=on_assign, on_revoke=on_revoke)

    letters = LetterFiles(str(folder / "dead"), "default", "t")
    return Means(
        Route(PolarsEngine(), store), group, opened, lambda _: letters, str(folder / "staging"), 60 * SECOND, pace
    )


def child(folder: Path, feed: Feed, group: str, pace: Pace, crash: tuple[str, int] | None, pipe: Connection) -> None:
    """Consume until told otherwise; with ``crash``, die at a point of the n-th batch."""
    store = LmdbStore(str(folder / "online"))
    means = means_of(folder, store, group, pace)
    if crash is not None:
        means = _dying(means, *crash)
    control = Watched()
    threading.Thread(target=_obey, args=(pipe, control), daemon=True).start()
    pipe.send("ready")
    with_end(StreamIngestion(lambda: feed, means), control)
    store.close()
    pipe.send(control.lines)


def _obey(pipe: Connection, control: Watched) -> None:
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            os._exit(1)  # nobody is there any more who could stop it
        if order == "stop":
            control.stop.set()
            return
        if order == "lines":
            pipe.send(list(control.lines))
        else:  # how large files may become
            resource.setrlimit(resource.RLIMIT_FSIZE, (order, resource.RLIM_INFINITY))


def _dying(means: Means, point: str, batch: int) -> Means:
    """The means of a consumer that is killed right after a step."""
    left = [batch]

    def after(plain: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **options: Any) -> Any:
            result = plain(*given, **options)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step

    if point == "letters":
        LetterFiles.write = after(LetterFiles.write)  # type: ignore[method-assign]  # in a process of its own
    elif point == "history":
        StreamLog.append = after(StreamLog.append)  # type: ignore[method-assign]  # as above
    elif point == "online":
        stream_stores.write_frames = after(stream_stores.write_frames)  # type: ignore[attr-defined]  # as above
    elif point == "mark":
        stream_stores.BothStores.write = after(stream_stores.BothStores.write)  # type: ignore[method-assign]  # as above
    else:
        plain = means.source

        def opened(*given: Any) -> StreamSource:
            source = plain(*given)
            source.commit = after(source.commit)  # type: ignore[method-assign]  # as above
            return source

        means = means._replace(source=opened)
    return means


class Consumer:
    """A consumer in a process of its own."""

    def __init__(self, world: World, *, crash: tuple[str, int] | None = None, pace: Pace = PACE) -> None:
        self._broker = world.broker
        self._pipe, theirs = CONTEXT.Pipe()
        given = (world.folder, world.feed, world.topic, pace, crash, theirs)
        self.process = CONTEXT.Process(target=child, args=given)
        self.process.start()
        theirs.close()
        assert self._pipe.poll(60)
        assert self._pipe.recv() == "ready"

    def kill(self) -> None:
        self.process.kill()
        self.await_death()

    def await_death(self) -> None:
        """Wait until it is killed, and until the broker has noticed."""
        self.process.join(60)
        assert self.process.exitcode == -9
        # The broker of tests never takes a member for dead, as brokers do; but one that comes back has no members.
        self._broker.crash()
        self._broker.start()

    def stop(self) -> list[str]:
        """Let it end; the lines it has logged."""
        self._pipe.send("stop")
        assert self._pipe.poll(60), "it did not end"
        lines: list[str] = self._pipe.recv()
        self.process.join(20)
        return lines

    def lines(self) -> list[str]:
        self._pipe.send("lines")
        assert self._pipe.poll(60)
        lines: list[str] = self._pipe.recv()
        return lines

    def limit_files(self, size: int) -> None:
        self._pipe.send(size)
        time.sleep(0.1)


class World:
    """One topic, whose name is that of the group, too."""

    def __init__(self, folder: Path, broker: KafkaBroker, topic: str, *, partitions: int = 2, **feed: Any) -> None:
        self.folder = folder
        self.broker = broker
        self.topic = topic
        self.feed = feed_of(folder, broker.address, topic, **feed)
        self._moment = random.Random(topic)
        self._sent = 0
        broker.create_topic(topic, partitions)

    def produce(self, count: int) -> None:
        """Messages of few keys, with ties, late ones, and some that are refused."""
        now = clock.now()
        values: list[bytes | None] = []
        for number in range(self._sent, self._sent + count):
            at = now - self._moment.randrange(50) * SECOND
            value = message(self._moment.randrange(7), at, number, made=clock.to_iso(now))
            values.append(b"poison" if self._moment.random() < 0.1 else value)
        self._sent += count
        self.broker.produce(self.topic, values)

    def is_drained(self) -> bool:
        ends = Counter(each.partition() for each in self.broker.messages(self.topic))
        told = self.broker.committed(self.topic, self.topic)
        return all(told.get(f"{self.topic}/{number}", 0) >= end for number, end in ends.items())

    def drain(self, patience: float = 60.0) -> None:
        until(self.is_drained, patience)

    def check(self) -> int:
        """What an independent consumer reads is in the history once, online by the greatest rank, or set aside."""
        good, bad = [], []
        for each in self.broker.messages(self.topic):
            if each.value() == b"poison":
                bad.append((each.partition(), each.offset()))
            else:
                good.append(json.loads(each.value())["a"])
        whole = stored(self.folder / "history")
        kept = Counter(whole["a"].to_list())
        assert kept == Counter(good), f"{self.topic}: lost {Counter(good) - kept}, too many {kept - Counter(good)}"
        letters = pl.concat([pl.read_parquet(file) for file in sorted((self.folder / "dead").rglob("*.parquet"))])
        assert sorted(letters.select("_partition", "_offset").rows()) == sorted(bad), self.topic
        order = ["at", "made", "_ingested_at", "_row"]
        best = whole.sort(order).unique("k", keep="last").select("k", *(pl.col(name).cast(pl.Int64) for name in order))
        assert self.online() == {key: tuple(rank) for key, *rank in best.rows()}, self.topic
        return len(good)

    def online(self) -> dict[int, tuple[int, ...]]:
        """The rank of every key, read from the bytes themselves."""
        store = LmdbStore(str(self.folder / "online"))
        found = {
            int.from_bytes(key[4:], "big", signed=True): tuple(
                int.from_bytes(value[at : at + 8], "big") - BIAS for at in range(0, 32, 8)
            )
            for key, value in store.scan(ID)
        }
        store.close()
        return found


def until(holds: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
