"""The reference source: topics, groups and rebalances in this process alone. What every source must equal."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final

from tiffin.errors import ConcurrentChange, FailedPrecondition, NotFound, Unavailable
from tiffin.stream.base import NO_TIMESTAMP, Message, Partitions


class MemoryBroker:
    """Topics and the offsets of groups. ``down`` is true while it answers nobody. Safe to use from several threads."""

    def __init__(self) -> None:
        self.down = False
        self.changed: Final = threading.Condition()
        self.logs: Final[dict[str, list[Message]]] = {}
        self.groups: Final[dict[str, _Group]] = {}
        self._topics: dict[str, int] = {}

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """A topic; more partitions than it has are added."""
        with self.changed:
            for number in range(self._topics.get(name, 0), partitions):
                self.logs[f"{name}/{number}"] = []
            self._topics[name] = max(partitions, self._topics.get(name, 0))
            for group in self.groups.values():
                group.share()
            self.changed.notify_all()

    def partitions(self, topic: str) -> list[str]:
        """The names of a topic's partitions; none where it does not exist."""
        return [f"{topic}/{number}" for number in range(self._topics.get(topic, 0))]

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        timestamp: int = NO_TIMESTAMP,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> int:
        """Append a message; its offset."""
        with self.changed:
            name = f"{topic}/{partition}"
            log = self.logs[name]
            log.append(Message(name, len(log), key, value, timestamp, headers))
            self.changed.notify_all()
            return len(log) - 1

    def committed(self, group: str) -> dict[str, int]:
        """The offsets that a group has committed."""
        with self.changed:
            return dict(self.groups[group].offsets) if group in self.groups else {}

    def open_source(self, topic: str, *, group: str, on_assign: Partitions, on_revoke: Partitions) -> MemorySource:
        """A new member of a group that reads a topic."""
        with self.changed:
            return MemorySource(self, self.groups.setdefault(group, _Group(self, topic)), on_assign, on_revoke)


class _Group:
    """The members of one group and who should have which partition; its broker's lock is held by callers."""

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self.topic: Final = topic
        self.offsets: Final[dict[str, int]] = {}
        self.members: Final[list[MemorySource]] = []
        self.owners: Final[dict[str, MemorySource]] = {}
        self._broker = broker

    def share(self) -> None:
        """Deal the partitions out to the members anew; each takes and gives at its next poll."""
        for number, name in enumerate(self._broker.partitions(self.topic)):
            for member in self.members:
                member.due.discard(name)
            if self.members:
                self.members[number % len(self.members)].due.add(name)
        self._broker.changed.notify_all()


class MemorySource:
    """A member of a group in this process."""

    def __init__(self, broker: MemoryBroker, group: _Group, on_assign: Partitions, on_revoke: Partitions) -> None:
        self.due: Final[set[str]] = set()
        self._broker = broker
        self._group = group
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._positions: dict[str, int] = {}
        self._turn = 0
        self._closed = False
        group.members.append(self)
        group.share()

    def poll(self, max_messages: int, max_wait_s: float) -> list[Message]:
        self._check_open()
        deadline = time.monotonic() + max_wait_s
        found: list[Message] = []
        while True:
            found = [message for message in found if message.partition in self._positions]
            self._rebalance()
            with self._broker.changed:
                self._check_up()
                found += self._take(max_messages - len(found))
                left = deadline - time.monotonic()
                if len(found) >= max_messages or left <= 0:
                    return found
                self._broker.changed.wait(min(left, 0.05))

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

    def commit(self, offsets: Mapping[str, int]) -> None:
        self._check_open()
        with self._broker.changed:
            self._check_up()
            for partition, offset in offsets.items():
                if self._group.owners.get(partition) is not self:
                    raise ConcurrentChange(f"Partition {partition!r} belongs to another member of the group by now.")
                self._group.offsets[partition] = offset

    def lag(self) -> dict[str, int]:
        logs = self._broker.logs
        return {name: max(0, len(logs[name]) - position) for name, position in self._positions.items()}

    def close(self) -> None:
        if self._closed:
            return
        self._give(set(self._positions))
        self._closed = True
        with self._broker.changed:
            self._group.members.remove(self)
            self.due.clear()
            self._group.share()

    def lose(self) -> None:
        """As if the broker had not heard of this member for too long: all it has is given away at once."""
        with self._broker.changed:
            for name in self._positions:
                self._group.owners.pop(name, None)
            self._group.members.remove(self)
            self.due.clear()
            self._group.share()
            self._group.members.append(self)

    def _rebalance(self) -> None:
        """Give what others are due, and take what is due and free."""
        self._give(set(self._positions) - self.due)
        with self._broker.changed:
            owners = self._group.owners
            mine = {name for name in self.due - set(self._positions) if name not in owners}
            owners.update(dict.fromkeys(mine, self))
            self._positions.update({name: self._group.offsets.get(name, 0) for name in mine})
        if mine:
            self._on_assign(mine)

    def _give(self, names: set[str]) -> None:
        if not names:
            return
        self._on_revoke(names)
        with self._broker.changed:
            for name in names:
                del self._positions[name]
                if self._group.owners.get(name) is self:
                    del self._group.owners[name]
            self._broker.changed.notify_all()

    def _take(self, wanted: int) -> list[Message]:
        """Messages of the assigned partitions in turn, so that none waits for ever behind a long one."""
        if not self._group.topic or not self._broker.partitions(self._group.topic):
            raise NotFound(f"There is no topic {self._group.topic!r}.", field="topic", hint="Create it.")
        found: list[Message] = []
        names = sorted(self._positions)
        self._turn += 1
        for step in range(len(names)):
            name = names[(step + self._turn) % len(names)]
            start = self._positions[name]
            new = self._broker.logs[name][start : start + max(0, wanted - len(found))]
            self._positions[name] = start + len(new)
            found += new
        return found

    def _check_up(self) -> None:
        if self._broker.down:
            raise Unavailable("The broker in memory is down.", hint="Wait until it is back.")

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPrecondition("The stream source was closed.", hint="Open another one.")
