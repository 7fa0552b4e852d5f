"""Options of Kafka: how Tiffin's settings become properties of the client.

``kafka_options`` holds further properties of librdkafka as a JSON object. Those that the promises of a stream stand on
are Tiffin's own and may not be given: who commits, in which group, and whether aborted transactions are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tiffin.definitions.source import KafkaSource
from tiffin.errors import InvalidConfig
from tiffin.options import read_size

#: Tiffin's options and the properties of librdkafka that they set.
PROPERTIES: Final = {
    "kafka_security_protocol": "security.protocol",
    "kafka_sasl_mechanism": "sasl.mechanism",
    "kafka_sasl_username": "sasl.username",
    "kafka_sasl_password": "sasl.password",
    "kafka_ssl_ca_location": "ssl.ca.location",
    "kafka_ssl_certificate_location": "ssl.certificate.location",
    "kafka_ssl_key_location": "ssl.key.location",
    "kafka_ssl_key_password": "ssl.key.password",
}

_RESERVED: Final = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "group.id",
        "group.protocol",
        "isolation.level",
        "metadata.broker.list",
        "partition.assignment.strategy",
    }
)

#: Words in the name of a property whose value nobody may see.
_SECRET: Final = ("password", "secret", "jaas", "pem", "oauthbearer.config", "key.pass")

#: Bytes of messages that wait in memory, where ``kafka_queue_size`` does not say.
_QUEUE: Final = "64MB"


def properties(source: KafkaSource, group: str, options: Mapping[str, str]) -> dict[str, Any]:
    """All properties of a consumer, in librdkafka's words. InvalidConfig where an option cannot be used."""
    queue_kilobytes = max(1, read_size(options.get("kafka_queue_size") or _QUEUE) // 1024)
    chosen = {name: options[option] for option, name in PROPERTIES.items() if options.get(option)}
    return {
        "client.id": "tiffin",
        # A broker that was away is found again within a second, not within ten.
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
        # How soon a new topic or partition is seen.
        "topic.metadata.refresh.interval.ms": 30_000,
        # A queue that was full is filled again before it is empty.
        "fetch.queue.backoff.ms": 50,
        "queued.max.messages.kbytes": queue_kilobytes,
        **chosen,
        **_further(options.get("kafka_options", "")),
        "bootstrap.servers": source.bootstrap_servers,
        "group.id": group,
        "allow.auto.create.topics": False,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,  # it tells how far aborted transactions at the end reach
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
    }


def producing(source: KafkaSource, options: Mapping[str, str]) -> dict[str, Any]:
    """The properties of a producer that writes to the brokers of a source."""
    chosen = {name: options[option] for option, name in PROPERTIES.items() if options.get(option)}
    return {
        "client.id": "tiffin",
        "log_level": 0,  # of properties that are of consumers alone, too
        "reconnect.backoff.max.ms": 1_000,
        "linger.ms": 5,
        **chosen,
        **_further(options.get("kafka_options", "")),
        "bootstrap.servers": source.bootstrap_servers,
        "enable.idempotence": True,
        "allow.auto.create.topics": False,
    }


def without_secrets(text: str, found: Mapping[str, Any]) -> str:
    """A text of the client without the values of secret properties."""
    for name, value in found.items():
        if value and any(word in name for word in _SECRET):
            text = text.replace(str(value), "****")
    return text


def _further(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        given = msgspec.json.decode(text, type=dict[str, str | bool | int | float])
    except msgspec.DecodeError:
        raise InvalidConfig(
            "kafka_options must be a JSON object of properties and their values.",  # its text may hold a secret
            field="kafka_options",
            hint='Write it as {"session.timeout.ms": 10000}.',
        ) from None
    refused = sorted(_RESERVED & given.keys())
    if refused:
        raise InvalidConfig(
            f"kafka_options may not set {', '.join(refused)}, which Tiffin needs to be as it is.",
            field="kafka_options",
            hint="Leave it out; servers are named by the table's stream source.",
        )
    return given
