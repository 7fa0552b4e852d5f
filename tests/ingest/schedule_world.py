"""A schedule carried out on real servers, and what must be true of every store afterwards."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final, NamedTuple

import fastavro
import polars as pl
import psutil
from redis import Redis

from tests.ingest.lakes import stored
from tests.ingest.schedule_workers import SCHEMA, TABLE, Place, Worker, consume, write
from tests.ingest.schedules import WRITERS, Act, Schedule, rows_of
from tests.servers.kafka import KafkaBroker
from tests.servers.postgres import PostgresServer
from tests.servers.redis import DURABLE, RedisServer
from tiffin.online.layout import BIAS, HEADER_END, TOMBSTONE

PATIENCE_S: Final = 60.0
#: The broker of tests has written after a second what it has acknowledged.
_WRITTEN_AFTER_S: Final = 1.3
_RANK: Final = ["at", "made", "_ingested_at", "_row"]


class Servers(NamedTuple):
    """The servers that schedules share, one after the other. Whatever they acknowledge outlives a kill."""

    broker: KafkaBroker
    redis: RedisServer
    database: PostgresServer

    def start(self, target: str) -> None:
        {"redis": self.redis, "database": self.database}.get(target, self.broker).start()

    def kill(self, target: str) -> None:
        if target == "redis":
            self.redis.kill()
        elif target == "database":
            # Its processes are in groups of their own, and hold the memory of the one that is to follow.
            family = psutil.Process(self.database.pid).children(recursive=True)
            os.kill(self.database.pid, signal.SIGKILL)
            for process in family:
                with _gone():
                    process.kill()
            psutil.wait_procs(family, 20)
            self.database.kill()
        elif target == "idle broker":
            self.broker.kill()
        else:
            self.broker.crash()


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Servers of their own: nobody else's clients may see them die."""
    found = Servers(KafkaBroker(folder / "broker"), RedisServer(folder / "redis", *DURABLE), PostgresServer())
    try:
        for server in found:
            server.start()
        yield found
    finally:
        found.broker.kill()
        found.redis.kill()
        found.database.remove()


class Seen(NamedTuple):
    """What a schedule came to: rows in the history, messages among them, kills, acts told again."""

    rows: int
    messages: int
    kills: int
    again: int


def carry_out(schedule: Schedule, servers: Servers, folder: Path) -> Seen:
    """Do a schedule, bring all to rest, and check; AssertionError with the schedule where something is wrong."""
    world = World(schedule, servers, folder)
    try:
        world.run()
        world.settle()
        return world.check()
    except Exception as error:
        error.add_note(f"{schedule}\nreproduce: python -m tests.ingest.soak_schedules {schedule.seed}")
        raise
    finally:
        world.close()


class World:
    """One schedule at work. ``_left`` are acts that nobody has acknowledged, by number with their last attempt."""

    def __init__(self, schedule: Schedule, servers: Servers, folder: Path) -> None:
        self._schedule = schedule
        self._servers = servers
        servers.redis.cli("FLUSHALL")
        topic = f"trips-{schedule.seed}"
        servers.broker.create_topic(topic, schedule.partitions)
        self._place = Place(
            folder,
            schedule.seed,
            schedule.form,
            servers.database.database(),
            servers.redis.uri,
            servers.broker.address,
            topic,
        )
        self._place.define()
        self._attempts: Counter[int] = Counter()
        self._left: dict[int, Act] = {}
        self._busy: dict[int, Act] = {}
        self._again = 0
        self._kills = 0
        self._told = 0.0
        self._writers = [Worker(write, self._place) for _ in range(WRITERS)]
        self._ready: set[int] = set()
        self._consumer = Worker(consume, self._place)

    def run(self) -> None:
        """All acts in their order; what is away meanwhile fails some of them."""
        for act in self._schedule.acts:
            if act.kind == "kill":
                self._kill(act)
            else:
                self._tell(act)
            time.sleep(act.pause / 1000)

    def settle(self) -> None:
        """Everything lives again: what was not acknowledged is repeated, and all come to rest."""
        self._rest()
        deadline = time.monotonic() + PATIENCE_S
        while self._left:
            assert time.monotonic() < deadline, f"these acts do not come to an end: {self._left}"
            for number, act in sorted(self._left.items()):
                self._again += 1
                self._tell(act._replace(writer=number % WRITERS))
            self._rest()
        with self._place.client() as client:
            client.repair()
            self._drain()
            client.materialize_incremental(TABLE)

    def check(self) -> Seen:
        """What side doors show, and what Tiffin says of itself."""
        whole = self._history()
        sent = Counter(self._origin(each.value()) for each in self._servers.broker.messages(self._place.topic))
        kept = Counter(whole["origin"].to_list())
        expected = sent + Counter(row["origin"] for number in self._batches() for row in self._rows(number))
        assert kept == expected, f"lost {expected - kept}, too many {kept - expected}"
        acknowledged = {
            row["origin"]
            for number in self._acts("produce")
            for row in rows_of(self._schedule.seed, number, self._attempts[number])
        }
        assert acknowledged <= sent.keys(), "the broker has lost what it acknowledged"
        best = whole.sort(_RANK).unique("k", keep="last")
        ranks = [pl.col(name).cast(pl.Int64) for name in _RANK]
        rows = best.select("k", *ranks, pl.when(~pl.col("gone")).then("origin").alias("origin")).rows()
        winners = {key: (tuple(rank), origin) for key, *rank, origin in rows}
        assert self._online() == winners
        with self._place.client() as client:
            latest = client.latest([f"{TABLE}:origin"]).to_polars()
            told = dict(latest.select("k", f"{TABLE}__origin").rows())
            assert told == {key: origin for key, (_, origin) in winners.items() if origin is not None}
            report = client.verify(sample=None)
            assert report.is_consistent, report
        return Seen(whole.height, sum(sent.values()), self._kills, self._again)

    def close(self) -> None:
        for worker in (*self._writers, self._consumer):
            worker.kill()

    def _tell(self, act: Act) -> None:
        """Hand an act to its writer, once that is free."""
        self._await(act.writer)
        self._attempts[act.number] += 1
        self._busy[act.writer] = act
        if act.kind in ("ingest", "push", "produce"):  # the others leave nothing behind that must be done
            self._left[act.number] = act
        self._writers[act.writer].pipe.send((act, self._attempts[act.number]))
        if act.kind == "produce":
            self._told = time.monotonic()

    def _await(self, number: int) -> None:
        """Wait for what a writer does at the time."""
        pipe = self._writers[number].pipe
        if number not in self._ready:
            assert pipe.poll(PATIENCE_S), f"writer {number} does not begin"
            assert pipe.recv() == "ready"
            self._ready.add(number)
        act = self._busy.pop(number, None)
        if act is None:
            return
        assert pipe.poll(PATIENCE_S), f"{act} has no end"
        outcome = pipe.recv()
        assert outcome.is_passing, f"{act}: {outcome.error}"
        if act.kind == "produce":
            self._told = time.monotonic()
        if not outcome.error:
            self._left.pop(act.number, None)

    def _rest(self) -> None:
        for number in range(WRITERS):
            self._await(number)

    def _kill(self, act: Act) -> None:
        self._kills += 1
        name, _, number = act.target.partition(" ")
        if name == "writer":
            self._writers[int(number)].kill()
            self._busy.pop(int(number), None)
            self._ready.discard(int(number))
            self._history()  # whoever looks now sees whole batches
            self._writers[int(number)] = Worker(write, self._place)
            return
        if act.target == "consumer":
            self._consumer.kill()
            # The broker of tests never takes a member for dead, as brokers do; but one that comes back has no members.
            self._servers.kill("broker")
        else:
            if act.target == "idle broker":
                self._let_it_write()
            self._servers.kill(act.target)
        time.sleep(act.away / 1000)
        self._servers.start("broker" if act.target == "consumer" else act.target)
        if act.target == "consumer":
            self._consumer = Worker(consume, self._place)

    def _let_it_write(self) -> None:
        """Wait until all that was ever produced is on the broker's disk."""
        for number, act in list(self._busy.items()):
            if act.kind == "produce":
                self._await(number)
        time.sleep(max(0.0, self._told + _WRITTEN_AFTER_S - time.monotonic()))

    def _drain(self) -> None:
        """Wait until the consumer has told the broker all offsets, then let it end."""
        broker, topic = self._servers.broker, self._place.topic
        ends = Counter(each.partition() for each in broker.messages(topic))
        group = f"tiffin-default-{TABLE}"
        deadline = time.monotonic() + PATIENCE_S
        while not all(broker.committed(group, topic).get(f"{topic}/{n}", 0) >= end for n, end in ends.items()):
            assert not wait([self._consumer.pipe, self._consumer.process.sentinel], 0.05), self._consumer.pipe.recv()
            assert time.monotonic() < deadline, "the consumer does not come to the end of the topic"
        self._consumer.pipe.send("stop")
        assert self._consumer.pipe.poll(PATIENCE_S), "the consumer does not stop"
        problem = self._consumer.pipe.recv()
        assert not problem, problem
        self._consumer.process.join(20)

    def _history(self) -> pl.DataFrame:
        """All rows of the history, after a look at whether each batch is there whole, or not at all."""
        if not (self._place.history / "_delta_log").exists():
            return pl.DataFrame()
        whole = stored(self._place.history)
        if whole.is_empty():
            return whole
        kept = Counter(whole["origin"].to_list())
        for number in self._batches():
            origins = [row["origin"] for row in self._rows(number)]
            assert {kept[origin] for origin in origins} in ({0}, {1}), f"act {number} is there in part or twice: {kept}"
        return whole

    def _acts(self, *kinds: str) -> dict[int, Act]:
        return {act.number: act for act in self._schedule.acts if act.kind in kinds}

    def _batches(self) -> dict[int, Act]:
        return self._acts("ingest", "push")

    def _rows(self, number: int) -> list[dict[str, object]]:
        return rows_of(self._schedule.seed, number)

    def _origin(self, value: bytes) -> str:
        if self._schedule.form == "avro":
            row = fastavro.schemaless_reader(io.BytesIO(value), SCHEMA, None)
        else:
            row = json.loads(value)
        return str(row["origin"])

    def _online(self) -> dict[int, tuple[tuple[int, ...], str | None]]:
        """The rank and text of every key, read from the bytes that Redis holds; None for a deleted one."""
        found: dict[int, tuple[tuple[int, ...], str | None]] = {}
        with Redis.from_url(self._servers.redis.uri) as redis:
            for name in redis.scan_iter(b"tiffin{}/default/trips/*", count=1000):
                value = redis.get(name)
                rank = tuple(int.from_bytes(value[at : at + 8], "big") - BIAS for at in range(0, 32, 8))
                # After the header: the bits of nulls in a byte, the end of the text in four, the text.
                text = None if value[33] & TOMBSTONE else value[HEADER_END + 5 :].decode()
                found[int.from_bytes(name[-8:], "big", signed=True)] = (rank, text)
        return found
