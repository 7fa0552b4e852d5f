"""Errors of Kafka's client as Tiffin's: the one place that knows their codes."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from tiffin.errors import (
    ConcurrentChange,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    TiffinError,
    Unauthenticated,
    Unavailable,
)

_MISSING: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_UNKNOWN_CALLER: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    }
)
_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_MOVED: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
    }
)
#: What passes by itself: the next call tells whether it has.
_AWAY: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError._NO_OFFSET,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    }
)


def error_of(error: KafkaError, *, topic: str, servers: str) -> TiffinError:
    """The error of Tiffin that an error of the client stands for."""
    code, words = error.code(), f"{error.str()} ({error.name()})"
    if code in _MISSING:
        return NotFound(
            f"There is no topic {topic!r} on the broker at {servers}.",
            field="topic",
            hint="Create it, or correct the table's stream source; the stream begins once it is there.",
        )
    if code in _UNKNOWN_CALLER:
        return Unauthenticated(
            f"The broker at {servers} does not know the caller: {words}.",
            field="kafka_sasl_username",
            hint="Check kafka_security_protocol, kafka_sasl_mechanism and the credentials.",
        )
    if code in _REFUSED:
        return PermissionDenied(
            f"The broker at {servers} does not let the caller read topic {topic!r} in its group: {words}.",
            field="topic",
            hint="Let this user read the topic and the group.",
        )
    if code in _MOVED:
        return ConcurrentChange(
            f"The group that reads topic {topic!r} has given its partitions to others: {words}.",
            hint="Poll again; whoever has them now reads on where the last commit ended.",
        )
    if code in _AWAY or error.retriable():
        return Unavailable(
            f"The broker at {servers} cannot be reached: {words}.", hint="It is tried again; check that it runs."
        )
    return FailedPrecondition(f"The broker at {servers} or its client refused to go on with {topic!r}: {words}.")
