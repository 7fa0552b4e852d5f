"""The processes of a schedule: writers that do one act after the other, and a consumer; each can be killed anywhere."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import fastavro
import polars as pl
from confluent_kafka import Producer

from tests.ingest.schedules import Act, rows_of
from tiffin import (
    Client,
    Entity,
    Feature,
    FeatureTable,
    FileSource,
    KafkaSource,
    ValueType,
    clock,
    compaction,
    recovery,
)
from tiffin.data_format import AvroFormat, JsonFormat, ParquetFormat
from tiffin.errors import Conflict, JobFailed, StorageError, TiffinError, Unavailable

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "tests.ingest.schedule_workers",
        "tiffin.client",
        "tiffin.compaction",
        "tiffin.ingest.push",
        "tiffin.online.redis_store",
        "tiffin.registry.store",
        "tiffin.stream.kafka_source",
        "tiffin.streaming",
        "tiffin.sync",
    ]
)

TABLE: Final = "trips"
#: What a killed server makes of an act, which is then tried again.
PASSING: Final = (Unavailable, StorageError, Conflict)
_TIME: Final = {"type": "long", "logicalType": "timestamp-micros"}
_FIELDS: Final = {"k": "long", "at": _TIME, "made": _TIME, "gone": "boolean", "origin": "string"}
SCHEMA: Final = {
    "type": "record",
    "name": "trip",
    "fields": [{"name": name, "type": kind} for name, kind in _FIELDS.items()],
}
_PARSED: Final = fastavro.parse_schema(SCHEMA)


class Place(NamedTuple):
    """Where one schedule works: its folder, and the addresses and names that it has on the servers."""

    folder: Path
    seed: int
    form: str
    registry: str
    redis: str
    broker: str
    topic: str

    @property
    def history(self) -> Path:
        return self.folder / "history"

    def client(self) -> Client:
        """A client of the store. It merges files early, and is quick to take a repairer for dead."""
        compaction.WAIT_S = 0.5  # type: ignore[misc]  # one that was killed while it merged keeps others from it for long
        recovery.LEASE_SECONDS = 1.0  # type: ignore[misc]  # a killed repairer is succeeded within the patience of tests
        session = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "reconnect.backoff.max.ms": 100}
        return Client(
            home=str(self.folder / "home"),
            registry=self.registry,
            online_store=self.redis,
            offline_location=str(self.folder / "more"),
            compact_after=8,
            stream_batch_rows=20,
            stream_batch_seconds=0.05,
            kafka_options=json.dumps(session),
        )

    def define(self) -> None:
        message = AvroFormat(json.dumps(SCHEMA)) if self.form == "avro" else JsonFormat()
        table = FeatureTable(
            TABLE,
            ["k"],
            [Feature("origin", ValueType.STRING)],
            FileSource("at", ParquetFormat(), str(self.history), "made"),
            KafkaSource("at", self.broker, message, self.topic, "made"),
            deleted_column="gone",
        )
        with self.client() as client:
            client.apply([Entity("k", value_type=ValueType.INT64), table])


class Outcome(NamedTuple):
    """What became of an act: ``error`` is empty if it was done, and ``is_passing`` if it may be tried again."""

    error: str = ""
    is_passing: bool = True


def write(place: Place, pipe: Connection) -> None:
    """Do what is asked, act by act, and answer each."""
    client = place.client()
    producer = Producer({"bootstrap.servers": place.broker, "log_level": 0, "linger.ms": 2, "message.timeout.ms": 8000})
    pipe.send("ready")
    while True:
        try:
            act, attempt = pipe.recv()
        except EOFError:
            os._exit(0)  # nobody asks any more
        pipe.send(_outcome(lambda: _do(place, client, producer, act, attempt)))  # noqa: B023  # called at once


def _outcome(work: Any) -> Outcome:
    try:
        work()
    except PASSING as error:
        return Outcome(str(error))
    except JobFailed as error:
        return Outcome(str(error), isinstance(error.__cause__, PASSING))
    except (TiffinError, AssertionError):
        return Outcome(traceback.format_exc(), is_passing=False)
    return Outcome()


def _do(place: Place, client: Client, producer: Producer, act: Act, attempt: int) -> None:
    key = f"act {act.number}"
    match act.kind:
        case "ingest":
            client.ingest(TABLE, _frame(place.seed, act), idempotency_key=key)
        case "push":
            client.push(TABLE, _frame(place.seed, act), idempotency_key=key)
        case "produce":
            _produce(place, producer, rows_of(place.seed, act.number, attempt))
        case "materialize":
            client.materialize_incremental(TABLE)
        case "compact":
            client.compact(TABLE)
        case kind:
            raise AssertionError(f"a writer does not {kind}")


def _frame(seed: int, act: Act) -> pl.DataFrame:
    return pl.DataFrame(rows_of(seed, act.number)).with_columns(
        pl.from_epoch(name, "us").dt.replace_time_zone("UTC") for name in ("at", "made")
    )


def _produce(place: Place, producer: Producer, rows: list[dict[str, Any]]) -> None:
    failed: list[Any] = []
    for row in rows:
        producer.produce(
            place.topic,
            _message(place.form, row),
            key=str(row["k"]),
            on_delivery=lambda error, _: failed.append(error) if error is not None else None,
        )
    left = producer.flush(20)
    if left or failed:
        raise Unavailable(f"{left} messages are not acknowledged, {failed[:1]}")


def _message(form: str, row: dict[str, Any]) -> bytes:
    if form == "avro":
        bare = io.BytesIO()
        fastavro.schemaless_writer(bare, _PARSED, row)
        return bare.getvalue()
    times = {name: clock.to_iso(row[name]) for name in ("at", "made")}
    return json.dumps(row | times).encode()


def consume(place: Place, pipe: Connection) -> None:
    """Read the stream until told to stop; tell what became of it."""
    threading.Thread(target=_read, args=(place, pipe), daemon=True).start()
    try:
        pipe.recv()
    except EOFError:
        os._exit(0)
    _stop.set()
    _stopped.wait(60)


_stop, _stopped = threading.Event(), threading.Event()


def _read(place: Place, pipe: Connection) -> None:
    client = place.client()
    problem = ""
    while not _stop.is_set():
        outcome = _outcome(lambda: _follow(client))
        # The registry may be away when the job is to begin; a job that has begun waits by itself.
        if not outcome.is_passing:
            problem = outcome.error
            break
        time.sleep(0.1)
    pipe.send(problem)
    client.close()
    _stopped.set()


def _follow(client: Client) -> None:
    job = client.start_stream_to_online_ingestion(TABLE)
    while not _stop.is_set() and job._task is not None and not job._task.finished.wait(0.05):
        continue
    if _stop.is_set():
        job.cancel()
        return
    job.wait(0)  # it has ended by itself: why?


class Worker:
    """One process, started from one that has everything imported."""

    def __init__(self, target: Any, place: Place) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=target, args=(place, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.join(30)
        self.pipe.close()
