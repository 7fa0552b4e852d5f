"""Upkeep: the history of a table kept in few files by whoever writes to it, behind its back.

Every so many versions of a table the writer that made the version looks, in a thread of its own, whether files have
become too many, and if so merges them, under a lease that keeps two from the same work. Nothing waits for it but the
end of the process, for as long as the commit takes that is under way. Whatever goes wrong in it is logged, and no
matter: the next writer tries again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from tiffin import clock
from tiffin.control import Control
from tiffin.definitions.schema import TableSchema
from tiffin.errors import ConcurrentChange, Conflict, JobCancelled, TiffinError
from tiffin.ingest.batch import target_of
from tiffin.offline.archive import archive
from tiffin.offline.compact import WAYSIDE_BYTES, compact
from tiffin.offline.vacuum import vacuum

_log = logging.getLogger(__name__)

#: Seconds between two vacuums of one table by one process.
_VACUUM_EVERY: Final = 86_400.0


class Policy(NamedTuple):
    """When writers merge files: once ``fan`` of about one size lie in one partition, 0 for never.

    What is out of use is removed after ``retention`` seconds, None for never.
    """

    fan: int = 64
    retention: float | None = None

    @property
    def every(self) -> int:
        """How many versions of a table lie between two looks."""
        return max(1, self.fan // 2)


class Surroundings(NamedTuple):
    """What else goes on around a table.

    ``alone`` is the right to do something named, a block that raises Conflict where another has it. ``pinned`` are the
    versions of a location that sources are pinned to, and ``reading_since`` the instant (UTC microseconds) at which the
    oldest reader that still runs began, None where there is none.
    """

    alone: Callable[[str], AbstractContextManager[object]]
    pinned: Callable[[str], frozenset[int]]
    reading_since: Callable[[], int | None]


class Upkeep:
    """What one process does behind its commits. Safe to use from threads."""

    def __init__(self, policy: Policy, around: Surroundings) -> None:
        self._policy = policy
        self._around = around
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._queued: set[str] = set()
        self._vacuumed: dict[str, float] = {}
        self._stop = _Stop()

    def after(self, table: TableSchema, version: int) -> None:
        """A version was committed. Returns at once; most versions need nothing."""
        if self._policy.fan <= 0 or version <= 0 or version % self._policy.every:
            return
        uri = target_of(table)
        with self._lock:
            if uri in self._queued or self._stop.set:
                return
            self._queued.add(uri)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="tiffin-upkeep")
            self._pool.submit(self._tend, uri, table)

    def close(self) -> None:
        """End what is under way after its next commit, and begin nothing more."""
        with self._lock:
            self._stop.set = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _tend(self, uri: str, table: TableSchema) -> None:
        try:
            with self._around.alone(lease_name(table)):
                done = compact(uri, table.event_column, target=WAYSIDE_BYTES, fan=self._policy.fan, control=self._stop)
                archive(uri)
                if done.removed:
                    _log.info("%s: %d files became %d", table.label(), done.removed, done.added)
                    self._vacuum(uri)
        except (Conflict, ConcurrentChange, JobCancelled):
            return  # others are at it, or write so much that their commits come first
        except TiffinError as error:
            _log.warning("%s: its files were not merged: %s", table.label(), error.message)
        finally:
            with self._lock:
                self._queued.discard(uri)

    def _vacuum(self, uri: str) -> None:
        now, retention = time.monotonic(), self._policy.retention
        if retention is None or now - self._vacuumed.get(uri, -_VACUUM_EVERY) < _VACUUM_EVERY:
            return
        self._vacuumed[uri] = now
        if is_safe(retention, self._around.reading_since()):
            vacuum(uri, retention_s=retention, keep_versions=self._around.pinned(uri), control=self._stop)


def lease_name(table: TableSchema) -> str:
    """The name of the right to merge the files of a table."""
    return f"compact/{table.project}/{table.name}"


def is_safe(retention: float, reading_since: int | None) -> bool:
    """Whether files that were out of use for so many seconds are needed by no reader that began at that instant."""
    return reading_since is None or clock.now() - reading_since < retention * 1_000_000


class _Stop(Control):
    set = False

    def check(self) -> None:
        if self.set:
            raise JobCancelled("The process ends.")
