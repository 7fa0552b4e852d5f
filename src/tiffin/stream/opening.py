"""From a table's stream source to a member of the group that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tiffin.config import Config
from tiffin.definitions.source import AnyStreamSource, KafkaSource
from tiffin.errors import Unsupported
from tiffin.plugins import resolve
from tiffin.stream.base import Partitions, StreamSource
from tiffin.stream.kafka_options import PROPERTIES

#: The options that sources and decoders read.
NAMES: Final = (
    *PROPERTIES,
    "kafka_queue_size",
    "kafka_options",
    "schema_registry_url",
    "schema_registry_server_ssl_cert",
    "schema_registry_auth",
)


def open_stream(
    source: AnyStreamSource, *, group: str, options: Mapping[str, str], on_assign: Partitions, on_revoke: Partitions
) -> StreamSource:
    """A new member of a group; Unsupported where streams of this kind are registered, but not run."""
    if not isinstance(source, KafkaSource):
        raise Unsupported(
            f"Tiffin registers streams of Amazon Kinesis, such as {source.stream_name!r}, but does not run them.",
            field="stream_source",
            hint="Use a KafkaSource, or push the rows.",
        )
    opener = resolve("stream", "kafka")
    stream: StreamSource = opener(source, group=group, options=options, on_assign=on_assign, on_revoke=on_revoke)
    return stream


def stream_options(config: Config) -> dict[str, str]:
    """The options that sources and decoders read, as they are set. Some are secret."""
    return {name: text for name in NAMES if (text := config.get(name))}
