"""Recorder: events on their way into the audit log.

Denials are counted in memory and written each second, so that whoever is denied waits for nothing and a flood of them
becomes one row a minute. What a caller may vary, the project it names, is bounded by the number of rows a minute;
events beyond that are counted as dropped.

Changes are written before they are made: the first of equal ones in a minute at once, so that no crash loses that it
was made, and how often it was repeated with the next second's writing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tiffin import clock
from tiffin.registry.audit import MINUTE, Event

#: Rows of denials that one process adds in a minute.
MOST_DENIALS: Final = 200
#: Rows that wait where the log cannot be written.
MOST_WAITING: Final = 5 * MOST_DENIALS

_Key = tuple[int, bool, str, str, str, str]


class Recorder:
    """Counts events and hands them to ``write``, which may block and raise. Safe to use from several threads."""

    def __init__(self, write: Callable[[Sequence[Event]], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[_Key, Event] = {}
        self._minute = 0
        self._denied: set[_Key] = set()
        self._written: set[_Key] = set()
        #: Denials that were not recorded, since there were too many kinds of them.
        self.dropped = 0

    def deny(self, principal: str, project: str, action: str, detail: str) -> None:
        """Count a denial. Never blocks for longer than another thread counts one."""
        event = Event(at=clock.now(), principal=principal, project=project, action=action, detail=detail, denied=True)
        key = _key(event)
        with self._lock:
            self._turn(key[0])
            if key not in self._denied:
                if len(self._denied) >= MOST_DENIALS:
                    self.dropped += 1
                    return
                self._denied.add(key)
            self._count(key, event)

    def change(self, principal: str, project: str, action: str, detail: str) -> None:
        """Record a change that is about to be made. Blocks where it is the first of its kind in this minute."""
        event = Event(at=clock.now(), principal=principal, project=project, action=action, detail=detail)
        key = _key(event)
        with self._lock:
            self._turn(key[0])
            if key in self._written:
                self._count(key, event)
                return
        self._write([event])
        with self._lock:
            self._written.add(key)

    def flush(self) -> None:
        """Write what waits; where that fails it goes on waiting, and the error is the caller's."""
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, {}
            if not taken:
                return
            done = False
            try:
                self._write(list(taken.values()))
                done = True
            finally:
                if not done:
                    self._return(taken)

    def _return(self, taken: dict[_Key, Event]) -> None:
        """Put back what could not be written, as far as there is room."""
        with self._lock:
            for key, event in taken.items():
                if key in self._waiting or len(self._waiting) < MOST_WAITING:
                    self._count(key, event)
                else:
                    self.dropped += event.count

    def _turn(self, minute: int) -> None:
        """Forget what was seen in an earlier minute."""
        if minute != self._minute:
            self._minute = minute
            self._denied.clear()
            self._written.clear()

    def _count(self, key: _Key, event: Event) -> None:
        before = self._waiting.get(key)
        if before is not None:
            event = msgspec.structs.replace(
                before,
                count=before.count + event.count,
                at=min(before.at, event.at),
                last=max(before.last, before.at, event.last, event.at),
            )
        self._waiting[key] = event


def _key(event: Event) -> _Key:
    return (event.at // MINUTE, event.denied, event.principal, event.project, event.action, event.detail)
