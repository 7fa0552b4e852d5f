"""Topics of Kafka as a stream source: a member of a consumer group, on the client of Confluent.

It reads what is committed only (``isolation.level``), holds a bounded amount of messages in memory, and shares
partitions with the others of its group so that those which stay are read on while others move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tiffin.definitions.source import KafkaSource
from tiffin.errors import MissingDependency
from tiffin.stream.base import Partitions

if TYPE_CHECKING:
    from tiffin.stream.kafka_sink import KafkaSink
    from tiffin.stream.kafka_source import KafkaStream


def open_source(
    source: KafkaSource, *, group: str, options: Mapping[str, str], on_assign: Partitions, on_revoke: Partitions
) -> KafkaStream:
    """A new member of a group; it connects in the background. ``options`` are those of ``kafka_options.py``."""
    try:
        from tiffin.stream.kafka_source import KafkaStream
    except ImportError as error:
        if not (error.name or "").startswith("confluent_kafka"):
            raise
        raise MissingDependency(
            "confluent-kafka", extra="kafka", purpose=f"The stream of topic {source.topic!r}"
        ) from error
    return KafkaStream(source, group, options, on_assign, on_revoke)


def open_sink(source: KafkaSource, *, topic: str, options: Mapping[str, str]) -> KafkaSink:
    """A topic of the brokers of a source, for messages that go elsewhere from there."""
    try:
        from tiffin.stream.kafka_sink import KafkaSink
    except ImportError as error:
        if not (error.name or "").startswith("confluent_kafka"):
            raise
        raise MissingDependency("confluent-kafka", extra="kafka", purpose=f"The topic {topic!r}") from error
    return KafkaSink(source, topic, options)
