"""Every source keeps the rules of the contract."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.servers.kafka import KafkaBroker
from tiffin import KafkaSource
from tiffin.data_format import JsonFormat
from tiffin.stream.base import Message, Partitions, StreamSource
from tiffin.stream.memory import MemoryBroker
from tiffin.stream.opening import open_stream
from tiffin.testing.stream import StreamSuite

#: A group that shares anew within seconds. The broker of tests may mislay a member that joins again at once, and then
#: finds it when its time for a poll is over.
QUICK = json.dumps(
    {
        "heartbeat.interval.ms": 1000,
        "session.timeout.ms": 6000,
        "max.poll.interval.ms": 6000,
        "topic.metadata.refresh.interval.ms": 1000,
    }
)


class TestMemory(StreamSuite):
    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = MemoryBroker()

    def create_topic(self, topic: str, partitions: int) -> None:
        self.broker.create_topic(topic, partitions)

    def produce(self, topic: str, partition: int, message: Message) -> None:
        self.broker.produce(
            topic,
            message.value,
            partition=partition,
            key=message.key,
            timestamp=message.timestamp,
            headers=message.headers,
        )

    def open(self, topic: str, group: str, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        return self.broker.open_source(topic, group=group, on_assign=on_assign, on_revoke=on_revoke)

    def committed(self, topic: str, group: str) -> dict[str, int]:
        return self.broker.committed(group)

    def fall(self) -> None:
        self.broker.down = True

    def rise(self) -> None:
        self.broker.down = False


class TestKafka(StreamSuite):
    @pytest.fixture(autouse=True)
    def _broker(self, kafka_broker: KafkaBroker) -> None:
        self.broker = kafka_broker
        self.producer: Any = None

    @pytest.fixture
    def topic(self) -> str:
        return f"topic-{uuid.uuid4()}"

    def create_topic(self, topic: str, partitions: int) -> None:
        self.broker.create_topic(topic, partitions)

    def produce(self, topic: str, partition: int, message: Message) -> None:
        stamp = {} if message.timestamp < 0 else {"timestamp": message.timestamp // 1000}
        headers = list(message.headers)
        self.producer = self.producer or self.broker.producer(**{"linger.ms": 0})
        self.producer.produce(topic, message.value, message.key, partition=partition, headers=headers, **stamp)
        assert self.producer.flush(30) == 0

    def open(self, topic: str, group: str, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        source = KafkaSource("ts", self.broker.address, JsonFormat(), topic)
        return open_stream(
            source, group=group, options={"kafka_options": QUICK}, on_assign=on_assign, on_revoke=on_revoke
        )

    def committed(self, topic: str, group: str) -> dict[str, int]:
        return self.broker.committed(group, topic)

    def fall(self) -> None:
        self.broker.crash()

    def rise(self) -> None:
        self.broker.start()
