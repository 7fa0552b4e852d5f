"""Leases: the right to do something alone, for a while.

**Clocks.** A lease is safe against clocks that disagree, by two rules:

1. One clock decides in the database: the database's own. It writes when a lease ends and compares with that; what time
   its holders have is never asked. (A SQLite file is used from one machine, whose clock that is.)
2. A holder trusts its lease for ``seconds`` from the moment *before* it asked, by a clock that only runs forward and
   that nobody sets (``CLOCK_BOOTTIME``, which counts while a machine sleeps, too). That moment is earlier than the one
   from which the database counts, so a holder stops before anybody else may begin.

So it does not matter what clocks show, only that for the length of a lease they run about equally fast; and a process
that was stopped and goes on finds its trust gone before its next act. What the database itself changes is fenced: the
transaction looks at the lease again. Should the database's clock be set forward, a lease may end too early for a holder
that does not know it yet, and that fence is what remains; should it be set back, a lease lasts at most its own length.

Names are paths: ``control``, or ``KIND/PROJECT`` and what follows, as ``repair/default/driver_statistics``. An owner is
a text that nobody else uses: see :func:`new_owner`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import msgspec

from tiffin.errors import Conflict, InvalidArgument, StorageError, Unavailable

#: Seconds that a lease lasts at most: what is held for longer is renewed.
LONGEST: Final = 86_400.0
#: A holder renews after this share of a lease, so that two attempts may fail.
_RENEW_AT: Final = 0.3
#: Seconds that the end of a block waits for the thread that renews.
_JOIN: Final = 30.0


class LeaseRecord(msgspec.Struct, frozen=True):
    """Who holds what. ``term`` counts the holders there were; ``expires`` is by the database's clock, in UTC us."""

    name: str
    owner: str
    term: int
    taken: int
    expires: int


class Leases(Protocol):
    """The leases of one database, here or behind a service. Used from several threads."""

    def take(self, name: str, owner: str, seconds: float) -> bool:
        """Take a lease, or renew it where ``owner`` holds it; whether ``owner`` holds it now, for ``seconds``."""
        ...

    def release(self, name: str, owner: str) -> None:
        """Give a lease back, so that others need not wait for its end; nothing where ``owner`` does not hold it."""
        ...

    def held(self) -> list[LeaseRecord]:
        """The leases that are held this moment, by name."""
        ...


class Lease:
    """One lease as its holder knows it: :meth:`take` it and renew it, and ask :meth:`is_held` before each act."""

    def __init__(
        self, leases: Leases, name: str, owner: str, seconds: float, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._leases = leases
        self._clock = clock or boot_seconds
        self._until = 0.0
        self.name = name
        self.owner = owner
        self.seconds = checked_seconds(seconds)

    def take(self) -> bool:
        """Take or renew it; whether it is held. Raises what the database raises, upon which it may still be held."""
        before = self._clock()
        taken = self._leases.take(self.name, self.owner, self.seconds)
        self._until = before + self.seconds if taken else 0.0
        return self.is_held()

    def is_held(self) -> bool:
        """Whether nobody else can hold it, without asking anybody."""
        return self._clock() < self._until

    @property
    def remaining(self) -> float:
        """Seconds for which it is held without being renewed."""
        return max(0.0, self._until - self._clock())

    def check(self) -> None:
        """Raise Conflict unless it is held."""
        if not self.is_held():
            raise Conflict(
                f"The lease {self.name!r} was lost: it was not renewed within {self.seconds:g} s.",
                hint="Another process may be at it now; begin again.",
            )

    def release(self) -> None:
        """Give it back."""
        self._until = 0.0
        self._leases.release(self.name, self.owner)


@contextmanager
def holding(leases: Leases, name: str, *, seconds: float = 60.0, owner: str | None = None) -> Iterator[Lease]:
    """Hold a lease for the length of a block, renewed by a thread; Conflict where somebody else holds it.

    Call ``lease.check()`` before each step that two must not make: after a pause, or while the database is away for
    longer than ``seconds``, the lease may be another's.
    """
    lease = Lease(leases, name, owner or new_owner(), seconds)
    if not lease.take():
        holder = next((each.owner for each in leases.held() if each.name == name), "another process")
        raise Conflict(f"{name!r} is being done by {holder}.", hint="Wait for it to end.")
    with renewed(lease):
        yield lease


@contextmanager
def renewed(lease: Lease) -> Iterator[None]:
    """Renew a lease that is held, in a thread, and give it back at the end of the block."""
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lease, done), name=f"tiffin-lease-{lease.name}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join(_JOIN)
        with suppress(StorageError, Unavailable):  # it ends by itself
            lease.release()


def new_owner() -> str:
    """A text that no other holder has, and that tells people where to look: host, process, and random letters."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def boot_seconds() -> float:
    """Seconds since the machine started, those it slept included: what no setting of clocks changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def checked_seconds(seconds: float) -> float:
    """The length of a lease; InvalidArgument for one that is none."""
    if not 0 < seconds <= LONGEST:
        raise InvalidArgument(
            f"A lease lasts more than 0 and at most {LONGEST:g} seconds, not {seconds!r}.", field="seconds"
        )
    return float(seconds)


def _renew(lease: Lease, done: threading.Event) -> None:
    while not done.wait(max(0.05, lease.seconds * _RENEW_AT)):
        with suppress(StorageError, Unavailable):  # tried again: it is held until its time is over
            if not lease.take():
                return
