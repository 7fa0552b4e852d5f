"""A topic of Kafka that messages are put into, each acknowledged by all replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from tiffin.definitions.source import KafkaSource
from tiffin.errors import Unavailable
from tiffin.stream.kafka_errors import error_of
from tiffin.stream.kafka_options import producing

#: Seconds within which a batch of messages must be acknowledged.
_PATIENCE_S: Final = 30.0


class KafkaSink:
    """A :class:`~tiffin.stream.base.Sink` on one topic of a source's brokers."""

    def __init__(self, source: KafkaSource, topic: str, options: Mapping[str, str]) -> None:
        self._topic = topic
        self._servers = source.bootstrap_servers
        self._failed: KafkaError | None = None
        self._producer = Producer({**producing(source, options), "delivery.timeout.ms": round(_PATIENCE_S * 1000)})

    def send(self, messages: Iterable[tuple[bytes, bytes | None, Mapping[str, bytes | None]]]) -> None:
        self._failed = None
        for key, value, headers in messages:
            self._produce(key, value, headers)
        left = self._producer.flush(_PATIENCE_S + 1)
        if self._failed is not None:
            raise error_of(self._failed, topic=self._topic, servers=self._servers)
        if left:
            raise Unavailable(
                f"The brokers at {self._servers!r} did not acknowledge {left} messages to {self._topic!r}.",
                hint="Wait until they are back.",
            )

    def close(self) -> None:
        self._producer.flush(1.0)

    def _produce(self, key: bytes, value: bytes | None, headers: Mapping[str, bytes | None]) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._note, headers=list(headers.items()))
            except BufferError:  # the queue is full: what waits is sent first
                self._producer.poll(0.1)
            except KafkaException as error:
                raise error_of(error.args[0], topic=self._topic, servers=self._servers) from error
            else:
                return

    def _note(self, error: KafkaError | None, _: Any) -> None:
        self._failed = self._failed or error
