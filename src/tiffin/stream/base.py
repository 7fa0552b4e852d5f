"""The contract of stream sources: messages in order within a partition, and offsets that move when told to.

A source belongs to a group whose members share the partitions of a topic. It never commits by itself: an offset is
committed after the stores hold the rows before it, so that a crash repeats messages and loses none. What keeps a
repeated message from being stored twice is the writer's affair, which is why it may also ``seek``.

A partition is named ``topic/number``. An offset says where to read on: a commit of 5 means that 4 was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

#: The timestamp of a message that has none.
NO_TIMESTAMP = -1

Partitions = Callable[[set[str]], None]
"""What is told of partitions that a source was given, or has to give back."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. ``timestamp`` is the broker's, in UTC microseconds; ``value`` None is a tombstone."""

    partition: str
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = NO_TIMESTAMP
    headers: tuple[tuple[str, bytes | None], ...] = ()


class StreamSource(Protocol):
    """One member of a group of consumers. Not safe to use from several threads.

    ``on_assign`` and ``on_revoke`` are given when it is opened, and called from within ``poll`` and ``close``.
    ``on_assign`` is told of new partitions before any message of them is handed out, and may ``seek`` in them.
    ``on_revoke`` is told of partitions that go to another member: until it returns, their offsets may be committed. Of
    partitions that were lost without warning it is told as well, and then a commit of them raises ConcurrentChange.
    """

    def poll(self, max_messages: int, max_wait_s: float) -> list[Message]:
        """The next messages: as many as are wanted, or those that came within the time, perhaps none.

        Of one partition they are in the order of their offsets, which may have gaps. After an error the next call goes
        on where the last one ended: Unavailable while no broker answers, NotFound while the topic does not exist,
        Unauthenticated and PermissionDenied where the broker refuses.
        """
        ...

    def assigned(self) -> set[str]:
        """The partitions that messages come from now."""
        ...

    def seek(self, partition: str, offset: int) -> None:
        """Read on from an offset of a partition that is assigned, or being assigned; NotFound where it is not."""
        ...

    def commit(self, offsets: Mapping[str, int]) -> None:
        """Record where a successor will read on, for each partition the next offset.

        It has happened when the call returns. ConcurrentChange where a partition is another member's by now, and
        Unavailable where the broker does not answer; then no, some or all of the offsets were recorded.
        """
        ...

    def lag(self) -> dict[str, int]:
        """How many messages of each assigned partition were not handed out yet, as far as is known without asking."""
        ...

    def close(self) -> None:
        """Leave the group, after ``on_revoke`` of what is held. Safe to call twice; other calls are errors then."""
        ...


class Sink(Protocol):
    """A topic that messages are put into."""

    def send(self, messages: Iterable[tuple[bytes, bytes | None, Mapping[str, bytes | None]]]) -> None:
        """Append messages of (key, value, headers); all are acknowledged when it returns.

        The errors are those of :meth:`StreamSource.poll`; some of the messages may have been appended then.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
