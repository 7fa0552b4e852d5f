"""A member of a consumer group of Kafka, and how it gives partitions back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from tiffin.definitions.source import KafkaSource
from tiffin.errors import (
    ConcurrentChange,
    FailedPrecondition,
    InvalidConfig,
    NotFound,
    TiffinError,
    Unavailable,
)
from tiffin.stream.base import NO_TIMESTAMP, Message, Partitions
from tiffin.stream.kafka_errors import error_of
from tiffin.stream.kafka_options import properties, without_secrets

#: As many as the client hands over in one call.
_MOST: Final = 1_000_000
#: Seconds that a broker has to say that it is there again.
_PROBE_S: Final = 1.0

_END: Final = KafkaError._PARTITION_EOF
_TOO_SLOW: Final = KafkaError._MAX_POLL_EXCEEDED

_log = logging.getLogger(__name__)


class KafkaStream:
    """A stream source on one topic."""

    def __init__(
        self, source: KafkaSource, group: str, options: Mapping[str, str], on_assign: Partitions, on_revoke: Partitions
    ) -> None:
        self._topic = source.topic
        self._servers = source.bootstrap_servers
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        #: The assigned partitions by number, and where each is read on; None where that is the group's affair.
        self._names: dict[int, str] = {}
        self._positions: dict[str, int | None] = {}
        self._assigning: set[str] = set()
        self._lost: set[str] = set()
        self._trouble: KafkaError | None = None
        self._closed = False
        self._consumer = self._connect(properties(source, group, options))

    def poll(self, max_messages: int, max_wait_s: float) -> list[Message]:
        self._check_open()
        try:
            events = self._consumer.consume(min(max_messages, _MOST), max_wait_s)
        except KafkaException as error:
            self._rewind()
            raise self._error(error.args[0]) from error
        except BaseException:
            self._rewind()  # a callback failed, and what had been read until then is gone with it
            raise
        found = [message for event in events if (message := self._message(event)) is not None]
        if found:
            return found
        if self._trouble is not None:
            self._look_again(self._trouble)
        return []

    def assigned(self) -> set[str]:
        return set(self._positions)

    def seek(self, partition: str, offset: int) -> None:
        self._check_open()
        if partition not in self._positions:
            raise NotFound(
                f"Partition {partition!r} is not assigned to this member of the group.",
                field="partition",
                hint=f"It has {sorted(self._positions)}.",
            )
        self._positions[partition] = offset
        if partition not in self._assigning:
            self._assign_again([partition])

    def commit(self, offsets: Mapping[str, int]) -> None:
        self._check_open()
        gone = sorted((offsets.keys() - self._positions.keys()) | (offsets.keys() & self._lost))
        if gone:
            raise ConcurrentChange(
                f"Partition {gone[0]!r} belongs to another member of the group by now.",
                hint="Poll again; whoever has it now reads on where the last commit ended.",
            )
        if not offsets:
            return
        if self._trouble is not None:
            self._look_again(self._trouble)  # the client would wait for a session's time before it says so
        places = [TopicPartition(self._topic, _number(name), offset) for name, offset in offsets.items()]
        try:
            done = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise self._error(error.args[0]) from error
        for place in done or ():
            if place.error is not None:
                raise self._error(place.error)

    def lag(self) -> dict[str, int]:
        found = {}
        for number, name in self._names.items():
            position = self._positions[name]
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            if position is not None and end >= 0:
                found[name] = max(0, end - position)
        return found

    def close(self) -> None:
        if self._closed:
            return
        try:
            self._consumer.close()
        except KafkaException as error:
            raise self._error(error.args[0]) from error
        finally:
            self._closed = True
            self._names.clear()
            self._positions.clear()

    def _connect(self, config: dict[str, Any]) -> Consumer:
        try:
            consumer = Consumer({**config, "error_cb": self._note}, logger=_log)
            consumer.subscribe([self._topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        except KafkaException as error:
            words = without_secrets(error.args[0].str(), config)
            raise InvalidConfig(
                f"The client of Kafka cannot be set up: {words}.",
                field="kafka_options",
                hint="Check the options that begin with kafka_.",
            ) from None
        return consumer

    def _message(self, event: Any) -> Message | None:
        """What an event of the client is as a message; None where it tells of something else."""
        error = event.error()
        if error is not None:
            self._hear(error, event)
            return None
        name = self._names.get(event.partition())
        if name is None:
            return None  # it was given away meanwhile
        offset = event.offset()
        self._positions[name] = offset + 1
        kind, milliseconds = event.timestamp()
        timestamp = NO_TIMESTAMP if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds * 1_000
        headers = event.headers()
        return Message(name, offset, event.key(), event.value(), timestamp, tuple(headers) if headers else ())

    def _hear(self, error: KafkaError, event: Any) -> None:
        name = self._names.get(event.partition())
        if error.code() == _END:
            if name is not None:
                self._positions[name] = event.offset()
        elif error.code() == _TOO_SLOW:
            _log.warning("The group of %s gave its partitions away: %s", self._topic, error.str())
        else:
            self._note(error)

    def _note(self, error: KafkaError) -> None:
        """Remember what went wrong; the next poll that has no messages asks whether it still does."""
        self._trouble = error

    def _look_again(self, trouble: KafkaError) -> None:
        """Raise what went wrong, unless the broker answers and has the topic."""
        if trouble.fatal():
            raise self._error(trouble)
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_PROBE_S).topics[self._topic]
        except KafkaException as error:
            worse = self._error(trouble)
            raise (self._error(error.args[0]) if isinstance(worse, NotFound) else worse) from error
        if topic.error is not None:
            raise self._error(topic.error)
        if not isinstance(self._error(trouble), Unavailable | NotFound):
            self._trouble = None
            raise self._error(trouble)
        self._trouble = None

    def _assign(self, _: Consumer, places: list[TopicPartition]) -> None:
        names = {f"{self._topic}/{place.partition}" for place in places}
        self._names.update({place.partition: f"{self._topic}/{place.partition}" for place in places})
        self._positions.update(dict.fromkeys(names))
        self._lost -= names
        self._assigning = names
        try:
            if names:
                self._on_assign(set(names))
        finally:
            self._assigning = set()
            self._consumer.incremental_assign(self._places(names))

    def _revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        names = {f"{self._topic}/{place.partition}" for place in places}
        try:
            if names:
                self._on_revoke(set(names))
        finally:
            for place in places:
                self._names.pop(place.partition, None)
                self._positions.pop(f"{self._topic}/{place.partition}", None)
            self._lost -= names
            if not self._closed:
                self._consumer.incremental_unassign(places)

    def _lose(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._lost = {f"{self._topic}/{place.partition}" for place in places}
        self._revoke(consumer, places)

    def _rewind(self) -> None:
        """Read on after the last message that was handed out."""
        self._assign_again(list(self._positions))

    def _assign_again(self, names: list[str]) -> None:
        # Unlike a seek, this works whether or not the partition is read from already.
        places = self._places(names)
        self._consumer.incremental_unassign(places)
        self._consumer.incremental_assign(places)

    def _places(self, names: Iterable[str]) -> list[TopicPartition]:
        starts = {name: self._positions[name] for name in names}
        return [
            TopicPartition(self._topic, _number(name)) if at is None else TopicPartition(self._topic, _number(name), at)
            for name, at in starts.items()
        ]

    def _error(self, error: KafkaError) -> TiffinError:
        return error_of(error, topic=self._topic, servers=self._servers)

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPrecondition("The stream source was closed.", hint="Open another one.")


def _number(partition: str) -> int:
    return int(partition.rpartition("/")[2])
