"""Streams: messages of a broker into both stores, each once in the history, and the latest of each key online.

A batch goes through the steps below in order, in this one thread. Whatever ends the work between two of them, the next
consumer of the group finishes:

1. messages are polled, decoded and validated; those that are refused become *dead letters*, kept before all else;
2. the rows are committed to the history together with the offsets at which the batch ends, if nobody else has stored
   these messages (:mod:`tiffin.ingest.stream_offsets`);
3. the rows of that commit are written online with its rank; the table's mark tells that they have arrived;
4. the broker is told the offsets.

Cut off after 2, the rows are brought online from the history (:mod:`tiffin.ingest.repair`), and reading goes on where
the history's offsets say. A table whose stream stays out of the history has only the broker's offsets: messages may be
written again, under the same rank, which is made of nothing but the message itself.

Where a store, the disk or the broker is away, the work waits and begins anew from what the history says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.errors import ConcurrentChange, CorruptData, StorageError, TiffinError, Unavailable
from tiffin.ingest.erased import Guard
from tiffin.ingest.materialize import Route
from tiffin.ingest.stream_columns import Feed
from tiffin.ingest.stream_letters import Letters, Spans
from tiffin.ingest.stream_patience import Patience
from tiffin.ingest.stream_rows import StreamRows
from tiffin.ingest.stream_stores import BothStores, OnlineOnly, Stores
from tiffin.offline.commit_log import OffsetsMoved
from tiffin.online.base import WriteResult
from tiffin.stream.base import Message, Partitions, StreamSource

#: What passes by itself, or by the hand of whoever looks after disks and servers.
_PASSING: Final = (Unavailable, StorageError, ConcurrentChange)


class Pace(NamedTuple):
    """How large batches are: at most so many messages, and those that came within so many seconds."""

    rows: int = 50_000
    seconds: float = 0.25


class Totals(NamedTuple):
    """What was done so far: messages that were handled, and rows by what became of them."""

    messages: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0


class Means(NamedTuple):
    """What a stream works with.

    ``source`` opens a member of ``group``, told of what it is given and gives back, and ``letters`` is where refused
    messages go. ``staging`` is a scratch folder. ``max_skew`` (microseconds) is how far an event may lie in the
    future. ``options`` are those of decoders; some are secret.
    """

    route: Route
    group: str
    source: Callable[[Feed, Partitions, Partitions], StreamSource]
    letters: Callable[[Feed], Letters]
    staging: str
    max_skew: int
    pace: Pace = Pace()
    options: Mapping[str, str] = {}


class StreamIngestion:
    """One consumer of a table's stream. ``feed`` tells what the table and its source are, and is asked again and again.

    ``totals`` may be read from other threads.
    """

    def __init__(self, feed: Callable[[], Feed], means: Means) -> None:
        self._feed = feed
        self._means = means._replace(
            route=msgspec.structs.replace(means.route, metrics=means.route.metrics.streaming())
        )
        self._line: _Line | None = None
        self.totals = Totals()

    def run(self, control: Control = UNWATCHED) -> None:
        """Bring messages in until ``control`` says to stop, which it is asked between two batches, or until it fails.

        It fails for what does not pass by itself: a topic that does not exist, a broker that refuses, a definition that
        cannot be. Nothing is lost by either.
        """
        patience = Patience(control)
        try:
            while True:
                control.check()
                try:
                    self._once(control)
                except CorruptData:
                    raise
                except OffsetsMoved as moved:
                    control.log(f"another consumer of the group was faster, going on from there: {moved.found}")
                    self._doubt()
                except _PASSING as error:
                    self._doubt()
                    patience.after(error)
                else:
                    patience.over()
        finally:
            self._close()

    def _once(self, control: Control) -> None:
        line = self._current(control)
        done = line.batch()
        total = self.totals
        self.totals = Totals(
            total.messages + done.messages,
            total.written + done.result.written,
            total.skipped + done.result.skipped,
            total.rejected + done.rejected,
        )
        control.rows(*self.totals[1:])
        behind = line.behind()
        control.progress(self.totals.messages, self.totals.messages + behind, unit="messages")
        control.lag(done.seconds_late if behind else 0.0)

    def _current(self, control: Control) -> _Line:
        """The line of work for the definition as it is now."""
        line = self._line
        try:
            feed = self._feed()
        except (Unavailable, StorageError):
            if line is None:
                raise
            return line  # what was known of the table a moment ago does until its definition can be read again
        if line is not None and line.feed == feed:
            return line
        if line is not None:
            control.log(f"{feed.table.label()}: its definition has changed")
        self._close()
        self._line = _Line(feed, self._means, control)
        return self._line

    def _doubt(self) -> None:
        if self._line is not None:
            self._line.doubt()

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            # The broker notices by itself, later, that a member is gone.
            with suppress(TiffinError):
                line.close()


class Done(NamedTuple):
    """What became of one batch; ``seconds_late`` is the age of its last message."""

    messages: int = 0
    rejected: int = 0
    result: WriteResult = WriteResult()
    seconds_late: float = 0.0


class _Line:
    """The work for one definition of a table: its source and stores, and where each partition is.

    ``_next`` is the offset of each assigned partition up to which all is stored. Of ``_doubted`` partitions it must be
    found out first; ``_fresh`` ones have not been stored since.
    """

    def __init__(self, feed: Feed, means: Means, control: Control) -> None:
        self.feed = feed
        self._means = means
        self._control = control
        self._next: dict[str, int] = {}
        self._doubted: set[str] = set()
        self._fresh: set[str] = set()
        self._stores = _stores(feed, means)
        self._rows = StreamRows(
            feed,
            extra=lambda: self._stores.extra,
            options=means.options,
            staging=means.staging,
            metrics=means.route.metrics,
        )
        self._letters = means.letters(feed)
        self._source = means.source(feed, self._assigned, self._revoked)

    def batch(self) -> Done:
        """Bring in the messages of one poll, perhaps none."""
        pace = self._means.pace
        found = self._source.poll(pace.rows, pace.seconds)
        mine = self._source.assigned()
        found = [message for message in found if message.partition in mine]
        for message in found:
            self._next.setdefault(message.partition, message.offset)
        if self._doubted & mine:
            found = self._settle_in(found, self._doubted & mine)
        messages, spans = self._new(found)
        if not messages:
            return Done()
        return self._store(messages, spans)

    def behind(self) -> int:
        """How many messages wait, as far as is known."""
        return sum(self._source.lag().values())

    def doubt(self) -> None:
        """Find out anew where each partition is, before anything else is stored."""
        self._doubted |= self._source.assigned()

    def close(self) -> None:
        """Leave the group."""
        try:
            self._letters.close()
        finally:
            self._source.close()

    def _settle_in(self, messages: Sequence[Message], partitions: set[str]) -> list[Message]:
        """Find out where partitions are, and go there; the messages that are of use nevertheless."""
        stored = self._stores.offsets(partitions)
        sought = set()
        for partition in sorted(partitions):
            # Without an offset of its own a partition is read on from where this consumer has come.
            at = stored.get(partition, self._next.get(partition))
            if at is not None:
                self._source.seek(partition, at)
                self._next[partition] = at
                sought.add(partition)
        self._fresh |= partitions
        self._doubted -= partitions
        self._acknowledge(stored)  # whoever was cut off before may not have come to that
        return [message for message in messages if message.partition not in sought]

    def _new(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, tuple[int, int]]]:
        """The messages that were not stored yet, and the offsets that they span by partition."""
        ends = dict(self._next)
        new = []
        for message in messages:
            if message.offset >= ends.setdefault(message.partition, message.offset):
                ends[message.partition] = message.offset + 1
                new.append(message)
        return new, {name: (self._next[name], end) for name, end in ends.items() if end > self._next[name]}

    def _store(self, messages: Sequence[Message], spans: Spans) -> Done:
        latest = clock.now() + self._means.max_skew
        with self._rows.read(messages, latest) as found:
            if found.letters is not None:
                guard = Guard(self.feed.table, self._means.route.erased)
                self._letters.write(guard.letters(found.letters), spans)
            result = self._stores.write(found, spans)
            rejected = 0 if found.letters is None else found.letters.height
        self._next.update({name: end for name, (_, end) in spans.items()})
        again = {name: spans[name] for name in spans.keys() & self._fresh}
        if again:
            self._letters.settle(again)
            self._fresh -= again.keys()
        self._means.route.metrics.dead_lettered(self.feed.table, rejected)
        self._acknowledge({name: end for name, (_, end) in spans.items()})
        last = messages[-1].timestamp
        return Done(len(messages), rejected, result, max(0.0, (clock.now() - last) / 1e6) if last >= 0 else 0.0)

    def _acknowledge(self, offsets: Mapping[str, int]) -> None:
        """Tell the broker up to where all is stored."""
        try:
            self._source.commit(offsets)
        except ConcurrentChange as error:
            # They are stored. Whoever has the partition by now sees that in the history, or writes the same again.
            self._control.log(f"offsets were not recorded: {error.message}")
            self._doubted |= offsets.keys()

    def _assigned(self, partitions: set[str]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
        self._doubted |= partitions

    def _revoked(self, partitions: set[str]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
        self._doubted -= partitions
        self._fresh -= partitions


def _stores(feed: Feed, means: Means) -> Stores:
    if feed.to_offline:
        return BothStores(means.route, feed.table, means.group)
    return OnlineOnly(means.route, feed)


__all__ = ["Feed", "Means", "Pace", "StreamIngestion", "Totals"]
