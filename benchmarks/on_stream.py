"""The tasks on a topic: events put into it, brought in by Tiffin, and by a consumer that does nothing else."""

import json
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import clock

FEATURES = 5
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Event",
        "fields": [
            {"name": "driver_id", "type": "long"},
            {"name": "event_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            *({"name": f"f{number}", "type": "double"} for number in range(FEATURES)),
        ],
    }
)
_DOUBLES = struct.Struct(f"<{FEATURES}d")


def event(key: int, at: int) -> bytes:
    """One event as Avro."""
    return _long(key) + _long(at) + _DOUBLES.pack(*(key + number / 8 for number in range(FEATURES)))


def produce(address: str, topic: str, rows: int, keys: int) -> dict[str, Any]:
    """Put events of so many keys into a topic of one partition."""
    from confluent_kafka import Producer

    start = time.time_ns() // 1_000 - rows
    producer = Producer({"bootstrap.servers": address, "queue.buffering.max.messages": 100_000, "linger.ms": 50})

    def work() -> None:
        for number in range(rows):
            key = number % keys
            while True:
                try:
                    producer.produce(topic, event(key, start + number), str(key).encode())
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
        producer.flush()

    spent, _ = clock.seconds(work)
    return {"seconds": spent, "rows": rows}


def tiffin(address: str, topic: str, rows: int, online: str, to_offline: bool, home: str) -> dict[str, Any]:
    """A whole topic into Redis and the history, or into Redis alone."""
    with _client(address, topic, online, to_offline, home) as client:

        def work() -> int:
            job = client.start_stream_to_online_ingestion("events")
            while job.progress.done < rows:
                time.sleep(0.01)
            job.cancel()
            done: int = job.rows_written + job.rows_skipped
            return done

        spent, done = clock.seconds(work)
    return {"seconds": spent, "rows": done}


def bare(address: str, topic: str, rows: int, online: str, home: str) -> dict[str, Any]:
    """A whole topic into Redis as pipelined SETs of the messages as they are: nothing decoded, compared or kept."""
    import redis
    from confluent_kafka import Consumer

    client = redis.Redis.from_url(online)
    consumer = Consumer({"bootstrap.servers": address, "group.id": "bare", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])

    def work() -> int:
        done = 0
        while done < rows:
            messages = [message for message in consumer.consume(10_000, 0.5) if message.error() is None]
            with client.pipeline(transaction=False) as pipeline:
                for message in messages:
                    pipeline.set(message.key() or b"", message.value() or b"")
                pipeline.execute()
            done += len(messages)
        return done

    spent, done = clock.seconds(work)
    consumer.close()
    return {"seconds": spent, "rows": done}


def latency(address: str, topic: str, events: int, online: str, home: str) -> dict[str, Any]:
    """From the moment an event is produced until it is read online: the median, and the p99 among the facts."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
    with _client(address, topic, online, True, home) as client:
        job = client.start_stream_to_online_ingestion("events")
        took = sorted(_one_by_one(client, producer, topic, events))
        job.cancel()
    return {"seconds": took[len(took) // 2], "p99": took[min(len(took) - 1, len(took) * 99 // 100)], "rows": events}


def _one_by_one(client: Any, producer: Any, topic: str, events: int) -> Iterator[float]:
    for number in range(-5, events):  # the first ones wait for the group
        begin = time.perf_counter()
        producer.produce(topic, event(number + 10, time.time_ns() // 1_000))
        producer.flush()
        while client.get_online_features(["events:f0"], {"driver_id": [number + 10]}).to_dict()["events:f0"] == [None]:
            time.sleep(0.002)
        if number >= 0:
            yield time.perf_counter() - begin
        threading.Event().wait(0.013 * (number % 7))  # so that events come at every moment of a batch


def _client(address: str, topic: str, online: str, to_offline: bool, home: str) -> Any:
    from tiffin import Client, Entity, Feature, FeatureTable, KafkaSource, ValueType
    from tiffin.data_format import AvroFormat

    # A group of its own, so that every run reads the topic from its beginning.
    client = Client(home=str(Path(home) / "store"), online_store=online, stream_group=uuid.uuid4().hex)
    source = KafkaSource("event_timestamp", address, AvroFormat(SCHEMA), topic)
    features = [Feature(f"f{number}", ValueType.DOUBLE) for number in range(FEATURES)]
    table = FeatureTable("events", ["driver_id"], features, stream_source=source, to_offline=to_offline)
    client.apply([Entity("driver_id", value_type=ValueType.INT64), table])
    return client


def _long(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)
