"""What every stream source must do, as tests: subclass :class:`StreamSuite` in a test module and run pytest.

What a group has committed is looked at through a side door that the subclass supplies. Times are generous, since
groups of brokers take seconds to share their partitions anew.
"""

from __future__ import annotations

import abc
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

import pytest

from tiffin import clock
from tiffin.errors import ConcurrentChange, FailedPrecondition, NotFound, TiffinError, Unavailable
from tiffin.stream.base import Message, Partitions, StreamSource

#: Seconds within which a group has settled.
PATIENCE: Final = 30.0


def _ignore(_: set[str]) -> None:
    """What a caller does who does not care for partitions."""


class Reader:
    """One member of a group, which notes what it is told."""

    def __init__(self, open_source: Callable[[Partitions, Partitions], StreamSource], start: dict[str, int]) -> None:
        self.told: list[tuple[str, set[str]]] = []
        self.seen: list[Message] = []
        self._start = start
        self.source = open_source(self._assigned, self._revoked)

    def poll(self, most: int = 1000, wait: float = 0.2) -> list[Message]:
        """Poll once; every message must be of a partition that it was given and not asked back for."""
        found = self.source.poll(most, wait)
        assert len(found) <= most
        assert {message.partition for message in found} <= self.source.assigned()
        assert self.source.assigned() == self._held()
        self.seen += found
        return found

    def until(self, done: Callable[[], bool]) -> None:
        """Poll until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, f"it did not come to that: {self.told}, {len(self.seen)} messages"
            try:
                self.poll()
            except (NotFound, Unavailable):
                time.sleep(0.05)

    def until_it_fails(self) -> None:
        """Poll until that raises an error."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.poll()

    def values(self) -> list[bytes | None]:
        """The values of all messages so far, in order."""
        return [message.value for message in self.seen]

    def _held(self) -> set[str]:
        held: set[str] = set()
        for what, partitions in self.told:
            held = held | partitions if what == "assign" else held - partitions
        return held

    def _assigned(self, partitions: set[str]) -> None:
        self.told.append(("assign", set(partitions)))
        for partition in partitions & self._start.keys():
            self.source.seek(partition, self._start[partition])

    def _revoked(self, partitions: set[str]) -> None:
        self.told.append(("revoke", set(partitions)))


class StreamSuite(abc.ABC):
    """The rules of the contract of stream sources. Every test has a topic and a group of its own."""

    #: Whether the broker can be taken away and brought back with all that it had.
    falls: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.falls:
            cls.test_a_broker_that_was_away_is_waited_for = None  # type: ignore[assignment,method-assign]  # not collected

    @abc.abstractmethod
    def create_topic(self, topic: str, partitions: int) -> None:
        """A new topic."""

    @abc.abstractmethod
    def produce(self, topic: str, partition: int, message: Message) -> None:
        """Append the key, value, headers and timestamp (in whole milliseconds) of a message."""

    @abc.abstractmethod
    def open(self, topic: str, group: str, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        """A new member of a group."""

    @abc.abstractmethod
    def committed(self, topic: str, group: str) -> dict[str, int]:
        """The offsets of a group, read by other means than the source."""

    def fall(self) -> None:
        """Take the broker away."""
        raise NotImplementedError

    def rise(self) -> None:
        """Bring it back."""
        raise NotImplementedError

    @pytest.fixture
    def topic(self, request: pytest.FixtureRequest) -> str:
        """The name of a topic of the test's own, which does not exist yet."""
        return f"{type(self).__name__}.{request.node.name}-{random.getrandbits(32):x}"[-200:]

    @pytest.fixture
    def join(self, topic: str) -> Iterator[Callable[..., Reader]]:
        """Joins the test's group; keyword arguments are offsets to start from, by the partition's number."""
        readers: list[Reader] = []

        def joined(start: dict[str, int] | None = None, group: str = "one") -> Reader:
            reader = Reader(lambda assign, revoke: self.open(topic, f"{topic}.{group}", assign, revoke), start or {})
            readers.append(reader)
            return reader

        yield joined
        for reader in readers:
            reader.source.close()

    def fill(self, topic: str, partition: int, count: int, first: int = 0) -> list[bytes]:
        """Append numbered messages to a partition; their values."""
        values = [b"%d:%d" % (partition, number) for number in range(first, first + count)]
        for value in values:
            self.produce(topic, partition, Message("", 0, None, value))
        return values

    def test_messages_come_whole_and_in_order(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        now = clock.now() // 1_000 * 1_000  # sources may keep milliseconds, and forget what is old
        sent = [
            Message("", 0, b"key", b"value", now, (("h", b"1"), ("h", b"2"), ("none", None))),
            Message("", 0, None, b"", now + 1_000),
            Message("", 0, b"", None, now + 2_000),
            Message("", 0, b"\xff\x00", b"\x00\xff", now + 3_000),
        ]
        for message in sent:
            self.produce(topic, 0, message)
        reader = join()
        reader.until(lambda: len(reader.seen) >= len(sent))
        assert [(m.partition, m.offset) for m in reader.seen] == [(f"{topic}/0", number) for number in range(4)]
        assert [(m.key, m.value, m.timestamp, m.headers) for m in reader.seen] == [
            (m.key, m.value, m.timestamp, m.headers) for m in sent
        ]

    def test_each_partition_is_in_order(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 3)
        sent = [self.fill(topic, number, 50) for number in range(3)]
        reader = join()
        reader.until(lambda: len(reader.seen) >= 150)
        by_partition = defaultdict(list)
        for message in reader.seen:
            by_partition[message.partition].append((message.offset, message.value))
        assert by_partition == {
            f"{topic}/{number}": list(enumerate(values)) for number, values in enumerate(sent)
        }  # each once, and nothing else

    def test_no_more_than_asked_for_and_no_longer(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 25)
        reader = join()
        reader.until(lambda: bool(reader.source.assigned()))
        while len(reader.seen) < 25:
            assert len(reader.poll(most=7, wait=1.0)) <= 7
        assert reader.values() == sent
        began = time.monotonic()
        assert reader.poll(wait=0.3) == []
        assert 0.2 < time.monotonic() - began < 5

    def test_partitions_are_told_of_before_their_messages(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 2)
        self.fill(topic, 0, 1)
        reader = join()
        assert reader.source.assigned() == set()
        reader.until(lambda: bool(reader.seen))
        assert reader.told == [("assign", {f"{topic}/0", f"{topic}/1"})]
        reader.source.close()
        assert reader.told[1:] == [("revoke", {f"{topic}/0", f"{topic}/1"})]

    def test_what_was_not_committed_comes_again(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 20)
        first = join()
        first.until(lambda: len(first.seen) >= 20)
        assert self.committed(topic, f"{topic}.one") == {}
        first.source.commit({f"{topic}/0": 12})
        assert self.committed(topic, f"{topic}.one") == {f"{topic}/0": 12}
        first.source.commit({})
        first.source.close()
        second = join()
        second.until(lambda: len(second.seen) >= 8)
        assert second.values() == sent[12:]
        other = join(group="other")
        other.until(lambda: len(other.seen) >= 20)
        assert other.values() == sent

    def test_seek_goes_back_and_forth(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 30)
        reader = join()
        reader.until(lambda: len(reader.seen) >= 30)
        for offset in (5, 28, 0):
            reader.seen.clear()
            reader.source.seek(f"{topic}/0", offset)
            reader.until(lambda expected=30 - offset: len(reader.seen) >= expected)  # type: ignore[misc]  # bound now
            assert reader.values() == sent[offset:]
        with pytest.raises(NotFound):
            reader.source.seek(f"{topic}/9", 0)

    def test_seek_while_being_assigned_wins_over_the_commit(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 2)
        sent = self.fill(topic, 0, 30)
        first = join()
        first.until(lambda: len(first.seen) >= 30)
        first.source.commit({f"{topic}/0": 30})
        first.source.close()
        second = join(start={f"{topic}/0": 25})
        second.until(lambda: len(second.seen) >= 5)
        assert second.values() == sent[25:]

    def test_seek_within_a_batch_hides_nothing(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 40)
        reader = join()
        while len(reader.seen) < 10:
            reader.until(lambda: bool(reader.poll(most=10 - len(reader.seen))) or len(reader.seen) >= 10)
        reader.seen.clear()
        reader.source.seek(f"{topic}/0", 3)
        reader.until(lambda: len(reader.seen) >= 37)
        assert reader.values() == sent[3:]

    def test_lag_is_what_was_not_handed_out(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        self.fill(topic, 0, 20)
        reader = join()
        while len(reader.seen) < 5:
            reader.poll(most=5 - len(reader.seen))
        assert reader.source.lag() == {f"{topic}/0": 15}
        reader.until(lambda: len(reader.seen) >= 20)
        assert reader.source.lag() == {f"{topic}/0": 0}

    def test_two_members_share_and_the_one_that_stays_gets_all(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 4)
        for number in range(4):
            self.fill(topic, number, 10)
        first = join()
        first.until(lambda: len(first.seen) >= 40)
        first.source.commit({f"{topic}/{number}": 10 for number in range(4)})
        second = join()
        first.until(lambda: bool(second.poll() or second.source.assigned()) and len(first.source.assigned()) == 2)
        assert len(second.source.assigned()) == 2
        assert not first.source.assigned() & second.source.assigned()
        [theirs, *_] = sorted(second.source.assigned())
        with pytest.raises(ConcurrentChange):
            first.source.commit({theirs: 3})
        with pytest.raises(NotFound):
            first.source.seek(theirs, 3)
        assert self.committed(topic, f"{topic}.one")[theirs] == 10
        for number in range(4):
            self.fill(topic, number, 5, first=10)
        first.until(lambda: bool(second.poll()) or len(first.seen) + len(second.seen) >= 60)
        first.until(lambda: bool(second.poll()) or len(first.seen) + len(second.seen) >= 60)
        assert not set(second.values()) & set(first.values())
        second.source.close()
        first.until(lambda: len(first.source.assigned()) == 4)
        first.until(lambda: len(set(first.values())) == 60)

    def test_offsets_may_be_committed_while_partitions_are_given_back(
        self, topic: str, join: Callable[..., Reader]
    ) -> None:
        self.create_topic(topic, 1)
        self.fill(topic, 0, 10)
        source: list[StreamSource] = []
        source.append(
            self.open(topic, f"{topic}.one", _ignore, lambda names: source[0].commit(dict.fromkeys(names, 7)))
        )
        deadline = time.monotonic() + PATIENCE
        while not source[0].poll(100, 0.2):
            assert time.monotonic() < deadline
        source[0].close()
        assert self.committed(topic, f"{topic}.one") == {f"{topic}/0": 7}

    def test_a_callback_that_fails_loses_nothing(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 10)
        calls: list[int] = []

        def assigned(_: set[str]) -> None:
            calls.append(1)
            raise FailedPrecondition("not now")

        source = self.open(topic, f"{topic}.one", assigned, _ignore)
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < 10:
            assert time.monotonic() < deadline
            try:
                found += source.poll(100, 0.2)
            except FailedPrecondition:
                continue
        assert calls == [1]
        assert [message.value for message in found] == sent
        source.close()

    def test_a_topic_that_comes_later(self, topic: str, join: Callable[..., Reader]) -> None:
        reader = join()
        with pytest.raises(NotFound, match="There is no topic"):
            reader.until_it_fails()
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 3)
        reader.until(lambda: len(reader.seen) >= 3)
        assert reader.values() == sent

    def test_a_broker_that_was_away_is_waited_for(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        sent = self.fill(topic, 0, 10)
        reader = join()
        reader.until(lambda: len(reader.seen) >= 10)
        reader.source.commit({f"{topic}/0": 10})
        self.fall()
        try:
            with pytest.raises(Unavailable):
                reader.until_it_fails()
            with pytest.raises(Unavailable):
                reader.source.commit({f"{topic}/0": 9})
        finally:
            self.rise()
        sent += self.fill(topic, 0, 10, first=10)
        reader.until(lambda: len(set(reader.values())) >= 20)
        assert reader.values()[-10:] == sent[-10:]
        reader.source.commit({f"{topic}/0": 20})
        assert self.committed(topic, f"{topic}.one") == {f"{topic}/0": 20}

    def test_a_source_that_was_closed(self, topic: str, join: Callable[..., Reader]) -> None:
        self.create_topic(topic, 1)
        reader = join()
        reader.until(lambda: bool(reader.source.assigned()))
        reader.source.close()
        reader.source.close()
        assert reader.source.assigned() == set()
        for call in (
            lambda: reader.source.poll(1, 0),
            lambda: reader.source.seek(f"{topic}/0", 0),
            lambda: reader.source.commit({f"{topic}/0": 0}),
        ):
            with pytest.raises(FailedPrecondition):
                call()

    @pytest.mark.parametrize("seed", range(2))
    def test_members_that_come_and_go_lose_nothing(self, topic: str, join: Callable[..., Reader], seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # nothing is secret here
        self.create_topic(topic, 3)
        sent: set[bytes | None] = set()
        kept: dict[str, dict[int, bytes | None]] = defaultdict(dict)
        members = [join()]
        for step in range(12):
            sent |= set(self.fill(topic, chance.randrange(3), 10, first=step * 10))
            if chance.random() < 0.3 and len(members) < 3:
                members.append(join())
            elif chance.random() < 0.3 and len(members) > 1:
                members.pop(chance.randrange(len(members))).source.close()
            for member in members:
                self._store(member, kept, chance.choice([3, 1000]))
        deadline = time.monotonic() + PATIENCE
        while {value for log in kept.values() for value in log.values()} != sent:
            assert time.monotonic() < deadline, "messages are missing"
            for member in members:
                self._store(member, kept, 1000)
        for partition, offset in self.committed(topic, f"{topic}.one").items():
            assert set(range(offset)) <= kept[partition].keys(), "an offset was committed past messages"

    def _store(self, member: Reader, kept: dict[str, dict[int, bytes | None]], most: int) -> None:
        """Keep what comes, then commit, as a writer does."""
        try:
            found = member.poll(most=most, wait=0.1)
            for message in found:
                kept[message.partition][message.offset] = message.value
            member.source.commit({message.partition: message.offset + 1 for message in found})
        except ConcurrentChange:
            return
        except TiffinError as error:
            raise AssertionError(f"a member failed: {error}") from error
