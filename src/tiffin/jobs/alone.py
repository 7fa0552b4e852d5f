"""Alone: work that several may be asked to do, and one does; the others stand by until its lease ends."""

from __future__ import annotations

import time
from typing import Final

from tiffin.control import Control
from tiffin.errors import Conflict, StorageError, Unavailable
from tiffin.jobs.lease import Lease, Leases, new_owner, renewed
from tiffin.jobs.record import Outcome
from tiffin.jobs.task import Work

#: Seconds that the lease lasts, and between two attempts to take it.
LEASE_SECONDS: Final = 30.0
_ASK_EVERY: Final = 1.0


class Alone:
    """Work under a lease. Losing it ends the work between two batches, and begins it again once it is held anew."""

    def __init__(self, work: Work, leases: Leases, name: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._work = work
        self._leases = leases
        self._name = name
        self._seconds = seconds

    def run(self, control: Control) -> Outcome:
        """Stand by until nobody else is at it, and do it."""
        while True:
            lease = Lease(self._leases, self._name, new_owner(), self._seconds)
            _stand_by(lease, control)
            held = _Held(control, lease)
            try:
                with renewed(lease):
                    return self._work.run(held)
            except Conflict:
                if not held.lost:
                    raise
                control.log(f"The lease {self._name} was lost: standing by.")


class _Held(Control):
    """A control whose check fails where the lease is lost, too."""

    def __init__(self, control: Control, lease: Lease) -> None:
        self._control = control
        self._lease = lease
        self.lost = False

    def check(self) -> None:
        self._control.check()
        self.lost = not self._lease.is_held()
        self._lease.check()

    def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
        self._control.progress(done, total, unit=unit)

    def rows(self, written: int, skipped: int = 0, rejected: int = 0) -> None:
        self._control.rows(written, skipped, rejected)

    def lag(self, seconds: float | None) -> None:
        self._control.lag(seconds)

    def log(self, line: str) -> None:
        self._control.log(line)


def _stand_by(lease: Lease, control: Control) -> None:
    """Return once the lease is held."""
    told = False
    while True:
        control.check()
        try:
            if lease.take():
                return
        except (StorageError, Unavailable) as error:
            control.log(f"The lease {lease.name} cannot be taken yet: {error}")
        if not told:
            control.log(f"Another process holds the lease {lease.name}: standing by.")
            told = True
        time.sleep(_ASK_EVERY)
