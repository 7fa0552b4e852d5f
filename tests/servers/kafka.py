"""Kafka: a broker of one node that speaks the protocol."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.servers.process import Server, free_port, listens


class KafkaBroker(Server):
    """What it has acknowledged outlives a crash, as on a broker with replicas. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._data = folder / "data"
        command = [_program(), "start", "--only", "kafka", "--kafka-port", str(self.port)]
        super().__init__([*command, "--data-dir", str(self._data)], folder, lambda: listens(self.port))

    def crash(self) -> None:
        """It hangs up on everybody at once, then SIGKILL; ``start`` brings it back with its data, on the same port."""
        # It writes a second after it acknowledges, and at once when its service is stopped: without that it would
        # forget what brokers with replicas do not.
        command = [_program(), "stop", "kafka", "--data-dir", str(self._data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.kill()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        admin = AdminClient(self._client())  # it must outlive what it is asked
        for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result(20)

    def produce(self, topic: str, values: Iterable[bytes | None], *, partition: int = -1, **message: Any) -> None:
        """Append messages; all are acknowledged when it returns. ``message`` is as of Producer.produce."""
        failed: list[Any] = []
        producer = self.producer()
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, partition=partition, on_delivery=_noting(failed), **message)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        assert producer.flush(30) == 0
        assert not failed, failed

    def producer(self, **options: Any) -> Producer:
        return Producer(self._client() | {"linger.ms": 5, "queue.buffering.max.messages": 1_000_000} | options)

    def messages(self, topic: str) -> list[Any]:
        """All that any consumer can read of a topic, by partition and offset: the side door of tests."""
        consumer = Consumer(self._client() | {"group.id": "side-door", "enable.auto.commit": False})
        try:
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in numbers}
            found: list[Any] = []
            for number, (low, high) in ends.items():
                consumer.assign([TopicPartition(topic, number, low)])
                last = low - 1
                while last < high - 1:
                    for message in consumer.consume(min(10_000, high - 1 - last), 1.0):
                        assert message.error() is None, message.error()
                        found.append(message)
                        last = message.offset()
            return found
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[str, int]:
        """The offsets that a group has committed."""
        consumer = Consumer(self._client() | {"group.id": group})
        try:
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            places = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=10)
            return {f"{topic}/{place.partition}": place.offset for place in places if place.offset >= 0}
        finally:
            consumer.close()

    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.address, "log_level": 0}


def _noting(failed: list[Any]) -> Any:
    def note(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    return note


def _program() -> str:
    spec = find_spec("noida_db")
    assert spec is not None, "install it first: pip install noida-db"
    assert spec.origin is not None
    return str(Path(spec.origin).with_name("noida-db"))
