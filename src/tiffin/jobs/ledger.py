"""JobLedger: where jobs are recorded so that all can see them: the contract of whatever keeps them.

A job whose process is gone cannot say so itself: whoever looks at it next records it as failed. A process is gone
when its host, looking at itself, has none of that number, or when no heartbeat came for :data:`LOST_AFTER`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tiffin import clock
from tiffin.jobs.claims import Claims, Schedules
from tiffin.jobs.lease import Leases
from tiffin.jobs.record import JobRecord, JobStatus, Outcome, Progress, Pruned

#: Microseconds without a heartbeat after which a job counts as lost.
LOST_AFTER: Final = 120_000_000


class Report(NamedTuple):
    """What a running job has to say: how far it is, lines for its log with their instants, and its rows so far."""

    job: JobRecord
    status: JobStatus
    progress: Progress
    lines: Sequence[tuple[int, str]] = ()
    outcome: Outcome = Outcome()


class JobLedger(Protocol):
    """The jobs of one registry. Used from several threads."""

    @property
    def leases(self) -> Leases:
        """The leases that are kept beside them: who may do what alone."""
        ...

    @property
    def claims(self) -> Claims:
        """What controllers record of jobs that they run."""
        ...

    @property
    def schedules(self) -> Schedules:
        """The tables that are materialised again and again."""
        ...

    def add(self, record: JobRecord) -> None:
        """Record a job that is about to start."""
        ...

    def get(self, job_id: str) -> JobRecord:
        """One job; NotFound if there is none of that id."""
        ...

    def find(
        self, *, include_terminated: bool = False, table: str | None = None, project: str | None = None
    ) -> list[JobRecord]:
        """Jobs, the newest first; those that ended only if asked for."""
        ...

    def report(self, reports: Iterable[Report]) -> set[str]:
        """Record what running jobs say and that they are alive; the ids of those that should stop."""
        ...

    def finish(self, report: Report, outcome: Outcome, error: str) -> None:
        """Record how a job ended. The process that ran it has the last word, whatever others took it for."""
        ...

    def fail(self, record: JobRecord, reason: str) -> JobRecord:
        """Record a job as failed unless it ended, or gave a sign of life after ``record`` was read."""
        ...

    def request_cancel(self, job_id: str) -> None:
        """Ask whoever runs a job to stop it; nothing if it has ended."""
        ...

    def set_output(self, job_id: str, uri: str) -> None:
        """Record where a job's rows were written."""
        ...

    def prune(self, jobs_before: int | None, audit_before: int | None) -> Pruned:
        """Delete jobs and events of the audit log that ended before these instants; None leaves all."""
        ...

    def log(self, job_id: str) -> list[tuple[int, str]]:
        """The lines of a job's log with their instants."""
        ...


def is_lost(record: JobRecord, *, look: bool = True) -> bool:
    """Whether the process that ran a job is gone; ``look`` at this machine's own processes, too."""
    if record.status.is_final:
        return False
    if clock.now() - record.heartbeat > LOST_AFTER:
        return True
    return look and record.host == socket.gethostname() and not _is_alive(record.pid)


def lost(record: JobRecord) -> str:
    """Why a job that was lost has failed."""
    return f"The process that ran the job (pid {record.pid} on {record.host}) ended before it."


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it exists, and belongs to somebody else
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not looked yet, perhaps because that stands still."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # another system, or it is gone this moment
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
