"""What Kafka adds to the contract: settings, secrets, transactions and errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from tests.servers.kafka import KafkaBroker
from tiffin import KafkaSource, KinesisSource
from tiffin.config import Config
from tiffin.data_format import JsonFormat
from tiffin.errors import (
    ConcurrentChange,
    FailedPrecondition,
    InvalidConfig,
    NotFound,
    PermissionDenied,
    TiffinError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from tiffin.stream.base import StreamSource
from tiffin.stream.kafka_errors import error_of
from tiffin.stream.kafka_options import properties
from tiffin.stream.opening import open_stream, stream_options

SOURCE = KafkaSource("ts", "127.0.0.1:1", JsonFormat(), "rides")


def opened(source: KafkaSource, **options: str) -> StreamSource:
    def ignore(_: set[str]) -> None:
        """Partitions do not matter here."""

    return open_stream(source, group=f"g-{uuid.uuid4()}", options=options, on_assign=ignore, on_revoke=ignore)


def until(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline


def test_options_become_properties_and_promises_stay() -> None:
    found = properties(
        SOURCE,
        "group",
        {
            "kafka_security_protocol": "sasl_ssl",
            "kafka_sasl_password": "pw1",
            "kafka_queue_size": "1MiB",
            "kafka_options": '{"session.timeout.ms": 7000}',
        },
    )
    assert (found["security.protocol"], found["sasl.password"], found["session.timeout.ms"]) == (
        "sasl_ssl",
        "pw1",
        7000,
    )
    assert found["queued.max.messages.kbytes"] == 1024
    assert (found["enable.auto.commit"], found["isolation.level"]) == (False, "read_committed")


@pytest.mark.parametrize("name", ["enable.auto.commit", "group.id", "isolation.level", "auto.offset.reset"])
def test_what_promises_stand_on_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidConfig, match=name):
        properties(SOURCE, "group", {"kafka_options": json.dumps({name: "x"})})


@pytest.mark.parametrize(
    "options",
    [
        {"kafka_options": '{"ssl.key.password": "pw1", '},
        {"kafka_options": '["pw1"]'},
        {"kafka_options": '{"sasl.password": {"a": "pw1"}}'},
        {"kafka_options": '{"no.such.property": 1, "sasl.password": "pw1"}'},
        {"kafka_security_protocol": "pw1", "kafka_sasl_password": "pw1"},
        {"kafka_security_protocol": "sasl_plaintext", "kafka_sasl_mechanism": "NO", "kafka_sasl_password": "pw1"},
    ],
)
def test_settings_that_cannot_be_are_told_without_secrets(options: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        opened(SOURCE, **options)
    assert "pw1" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def test_the_options_of_streams_are_those_that_are_set() -> None:
    config = Config(kafka_sasl_username="me", schema_registry_url="http://r", redis_port=1)
    assert stream_options(config) == {
        "kafka_sasl_username": "me",
        "kafka_queue_size": "64MB",
        "schema_registry_url": "http://r",
    }
    hidden = {option.name: text for option, text, _ in Config(kafka_options='{"a": "pw1"}').items()}
    assert hidden["kafka_options"] == "****"


def test_kinesis_is_registered_and_not_run() -> None:
    source = KinesisSource("ts", "made", JsonFormat(), "eu-west-1", "rides")
    with pytest.raises(Unsupported, match="rides"):
        open_stream(source, group="g", options={}, on_assign=print, on_revoke=print)


def test_an_unreachable_broker_is_told_soon() -> None:
    source = opened(SOURCE)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        until(lambda: source.poll(10, 0.2))
    assert time.monotonic() - began < 10
    with pytest.raises(ConcurrentChange):
        source.commit({"rides/0": 1})
    source.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, NotFound),
        (KafkaError._AUTHENTICATION, Unauthenticated),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Unauthenticated),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, PermissionDenied),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, PermissionDenied),
        (KafkaError.ILLEGAL_GENERATION, ConcurrentChange),
        (KafkaError._ALL_BROKERS_DOWN, Unavailable),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, Unavailable),
        (KafkaError._BAD_MSG, FailedPrecondition),
    ],
)
def test_each_error_has_a_meaning(code: int, kind: type[TiffinError]) -> None:
    error = error_of(KafkaError(code), topic="rides", servers="b:1")
    assert type(error) is kind
    assert "b:1" in str(error) or "rides" in str(error)


def test_aborted_transactions_are_not_seen_and_leave_no_lag(kafka_broker: KafkaBroker) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka_broker.create_topic(topic)
    producer = kafka_broker.producer(**{"transactional.id": topic})
    producer.init_transactions(20)
    for value, commit in ((b"kept", True), (b"gone", False), (b"also", True), (b"lost", False)):
        producer.begin_transaction()
        producer.produce(topic, value)
        (producer.commit_transaction if commit else producer.abort_transaction)(20)
    source = opened(KafkaSource("ts", kafka_broker.address, JsonFormat(), topic))
    found: list[Any] = []
    until(lambda: found.extend(source.poll(10, 0.2)) or len(found) >= 2)
    until(lambda: found.extend(source.poll(10, 0.2)) or source.lag() == {f"{topic}/0": 0})
    assert [message.value for message in found] == [b"kept", b"also"]
    source.close()


def test_the_broker_s_group_goes_on_after_a_crash(kafka_broker: KafkaBroker) -> None:
    topic = f"t-{uuid.uuid4()}"
    kafka_broker.create_topic(topic)
    kafka_broker.produce(topic, [b"%d" % number for number in range(100)])
    group = f"g-{topic}"
    source = open_stream(
        KafkaSource("ts", kafka_broker.address, JsonFormat(), topic),
        group=group,
        options={},
        on_assign=lambda names: None,
        on_revoke=lambda names: None,
    )
    found: list[Any] = []
    until(lambda: found.extend(source.poll(1000, 0.2)) or len(found) >= 100)
    source.commit({f"{topic}/0": 60})
    source.close()
    kafka_broker.crash()
    kafka_broker.start()
    assert kafka_broker.committed(group, topic) == {f"{topic}/0": 60}


def test_without_the_client_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["confluent_kafka"] = None
from tiffin import KafkaSource
from tiffin.data_format import JsonFormat
from tiffin.errors import MissingDependency
from tiffin.stream.opening import open_stream
try:
    open_stream(KafkaSource("ts", "b:1", JsonFormat(), "t"), group="g", options={}, on_assign=print, on_revoke=print)
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tiffin[kafka]" in done.stdout
