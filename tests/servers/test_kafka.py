"""The broker that other tests stand on is what it says it is."""

from __future__ import annotations

from tests.servers.kafka import KafkaBroker


def test_a_crash_keeps_what_was_acknowledged(kafka_broker: KafkaBroker) -> None:
    kafka_broker.create_topic("kept", 2)
    kafka_broker.produce("kept", [b"%d" % number for number in range(1000)])
    kafka_broker.crash()
    kafka_broker.start()
    kafka_broker.produce("kept", [b"after"])
    assert sorted(m.value() for m in kafka_broker.messages("kept")) == sorted(
        [b"after", *(b"%d" % number for number in range(1000))]
    )
