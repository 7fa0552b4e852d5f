"""Claims: what a controller records, each in one transaction that looks at the controller's lease again: the fence.

So a controller that was stopped for a while and goes on changes nothing any more, and no run is begun twice.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

from tiffin.jobs.decide import Run
from tiffin.jobs.record import JobRecord
from tiffin.jobs.schedule import Schedule


class Fence(NamedTuple):
    """The lease under which a controller acts, and what it holds it by."""

    lease: str
    owner: str


class Claims(Protocol):
    """What controllers and the jobs they start record. Used from several threads."""

    def managed(self, hashes: Collection[str]) -> list[JobRecord]:
        """The jobs of controllers that have not ended, and the newest ended one of each of these hashes."""
        ...

    def start(self, record: JobRecord, fence: Fence) -> bool:
        """Record a job that is about to start; not where the lease is another's, or a job of its hash goes on."""
        ...

    def stop(self, job_id: str, fence: Fence) -> bool:
        """Ask for the end of a job; not where the lease is another's."""
        ...

    def run(self, run: Run, record: JobRecord, fence: Fence) -> bool:
        """Claim a run of a schedule for the job ``record``, which is recorded as about to start.

        Not where the lease is another's, where the schedule is no longer what ``run`` was decided upon, or where by the
        clock of the database nothing is due yet.
        """
        ...

    def adopt(self, record: JobRecord) -> bool:
        """Make the process of ``record`` the one that runs a job which was recorded as about to start.

        Not where another process has it already, where it has ended, or where its end was asked for.
        """
        ...


class Schedules(Protocol):
    """The schedules of one registry. Used from several threads."""

    def put(self, schedule: Schedule) -> None:
        """Schedule a table, in place of what was scheduled before. What it ran until now is remembered."""
        ...

    def remove(self, project: str, table: str) -> None:
        """Schedule a table no longer; nothing where it is not."""
        ...

    def all(self, project: str | None = None) -> list[Schedule]:
        """The schedules of a project or of every one, by project and table."""
        ...
