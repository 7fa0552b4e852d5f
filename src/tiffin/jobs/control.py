"""Controller: keeps one job running per stream, and runs schedules when they are due.

Any number may run; the one that holds the lease leads, and the others stand by. What runs is known from the record of
jobs alone, so a leader that follows another takes over what that one has started: jobs that go on are left alone, those
whose process is gone are started again. Before each act the lease is looked at, and what is recorded is recorded under
the fence of :mod:`tiffin.jobs.claims`: a leader that was stopped for a while and goes on does nothing any more.

A job that was recorded and then started twice would still run once: the first process that adopts the record has it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from tiffin import clock
from tiffin.errors import InvalidArgument, NotFound, StorageError, TiffinError
from tiffin.jobs import decide
from tiffin.jobs.children import Children
from tiffin.jobs.claims import Fence
from tiffin.jobs.decide import Run, Start, Stop, Wanted
from tiffin.jobs.lease import Lease
from tiffin.jobs.ledger import JobLedger, Report, is_lost, lost
from tiffin.jobs.local import started_here
from tiffin.jobs.record import JobRecord, JobStatus, JobType, new_record
from tiffin.jobs.schedule import Schedule
from tiffin.jobs.spec import JobSpec, hash_of

#: Seconds that a job which was told to stop has for its batch, before its process is ended.
STOP_PATIENCE: Final = 60.0

_log = logging.getLogger(__name__)


class Goal(Protocol):
    """What should run."""

    def streams(self) -> list[Wanted]:
        """The streams that should be read."""
        ...

    def has_table(self, project: str, table: str) -> bool:
        """Whether a table may be materialised: it exists, in a project that is not archived."""
        ...


class Pace(NamedTuple):
    """Seconds between two looks, and for which a stopping controller waits for its jobs."""

    look: float = 2.0
    grace: float = STOP_PATIENCE


class Controller:
    """One instance. ``project`` is the one it cares for, None for all. ``chore`` is called at each look as a leader."""

    def __init__(
        self,
        ledger: JobLedger,
        goal: Goal,
        children: Children,
        lease: Lease,
        *,
        project: str | None = None,
        pace: Pace | None = None,
        chore: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._goal = goal
        self._children = children
        self._lease = lease
        self._project = project
        self._pace = pace or Pace()
        self._chore = chore
        self._fence = Fence(lease.name, lease.owner)
        self._leads = False
        self._told: dict[str, float] = {}
        self._runs_done: set[str] = set()
        self._last_error = ""

    @property
    def leads(self) -> bool:
        """Whether it acts, and no other does."""
        return self._lease.is_held()

    def run(self, stopping: threading.Event) -> None:
        """Lead or stand by until ``stopping`` is set; then tell the jobs to finish their batches, and wait for them."""
        while not stopping.is_set():
            self.look()
            stopping.wait(min(self._pace.look, self._lease.seconds / 3))
        self._end()

    def look(self) -> None:
        """Look once at what runs, and do what is needed. What stands in the way is logged, and tried again later."""
        try:
            self._look()
        except TiffinError as error:
            if str(error) != self._last_error:
                _log.warning("the controller waits: %s", error)
            self._last_error = str(error)
        else:
            self._last_error = ""

    def _look(self) -> None:
        if not self._lead():
            self._children.ended()
            return
        self._bury()
        wanted = self._goal.streams()
        jobs = self._jobs(wanted)
        reading = [job for job in jobs if job.type is JobType.STREAM_INGESTION]
        for action in decide.streams(wanted, reading, clock.now()):
            self._act(action)
        self._hurry(jobs)
        for schedule in self._ledger.schedules.all(self._project):
            try:
                self._follow(schedule, jobs)
            except InvalidArgument as error:  # one that nobody can read does not keep the others from running
                _log.warning("%s is left out: %s", schedule.title, error)
        if self._lease.is_held():
            self._chore()

    def _lead(self) -> bool:
        """Take or renew the lease; whether it is held."""
        leads = self._lease.take()
        if leads is not self._leads:
            _log.info("this controller %s (%s)", "leads" if leads else "stands by", self._lease.owner)
        self._leads = leads
        return leads

    def _jobs(self, wanted: Sequence[Wanted]) -> list[JobRecord]:
        """The jobs of controllers that matter, those whose process is gone recorded as failed."""
        found = self._ledger.claims.managed([each.hash for each in wanted])
        return [self._checked(job) for job in found if self._project in {None, job.project}]

    def _checked(self, job: JobRecord) -> JobRecord:
        if job.status.is_final:
            return job
        is_mine = job.host == socket.gethostname() and job.pid == os.getpid()
        if is_mine and job.id not in self._children:
            return self._ledger.fail(job, "It was recorded, and its process was never started.")
        return self._ledger.fail(job, lost(job)) if is_lost(job) else job

    def _bury(self) -> None:
        """Record as failed what ended without a word of its own."""
        for job_id, code in self._children.ended():
            self._told.pop(job_id, None)
            try:
                job = self._ledger.get(job_id)
            except NotFound:
                continue
            if job.status.is_final:
                continue
            if job.cancelling:
                self._ledger.finish(Report(job, JobStatus.CANCELLED, job.progress), job.outcome, "")
            else:
                self._ledger.fail(job, f"Its process ended before it, with exit code {code}.")

    def _act(self, action: Start | Stop) -> None:
        if not self._lease.is_held():
            return
        if isinstance(action, Stop):
            if self._ledger.claims.stop(action.job.id, self._fence):
                _log.info("%s is told to stop", action.job.title)
            return
        want = action.wanted
        record = _record(JobType.STREAM_INGESTION, want.project, want.table, want.hash, action.attempt)
        if self._ledger.claims.start(record, self._fence):
            self._launch(record, JobSpec(record.type, want.project, (want.table,), slot=0, id=record.id))

    def _follow(self, schedule: Schedule, jobs: Sequence[JobRecord]) -> None:
        """Run a schedule if it is due, or if its last run must be tried again."""
        last = self._last_run(schedule, jobs)
        run = decide.run(schedule, last, clock.now())
        if run is None or not self._lease.is_held() or not self._goal.has_table(schedule.project, schedule.table):
            return
        hashed = hash_of("run", schedule.project, schedule.table, run.first, run.due)
        record = _record(JobType.BATCH_INGESTION, schedule.project, schedule.table, hashed, run.attempt)
        if self._ledger.claims.run(run, record, self._fence):
            self._launch(record, _spec_of(run, record))

    def _last_run(self, schedule: Schedule, jobs: Sequence[JobRecord]) -> JobRecord | None:
        """The job of a schedule's last run; None where there was none, or it did its work."""
        job_id = schedule.run_job
        if job_id is None or job_id in self._runs_done:
            return None
        running = next((job for job in jobs if job.id == job_id), None)
        try:
            last = running or self._checked(self._ledger.get(job_id))
        except NotFound:
            last = None  # so long ago that it is no longer recorded
        if last is None or last.status is JobStatus.COMPLETED:
            self._runs_done.add(job_id)
            return None
        return last

    def _launch(self, record: JobRecord, spec: JobSpec) -> None:
        """Start the process of a job that was recorded a moment ago."""
        if not self._lease.is_held():
            self._ledger.fail(record, "The controller lost its lease before it had started the process.")
            return
        try:
            self._children.start(spec)
        except StorageError as error:
            self._ledger.fail(record, error.message)
            raise
        _log.info("%s is started, attempt %d", record.title, record.attempt)

    def _hurry(self, jobs: Sequence[JobRecord]) -> None:
        """End the processes of this controller's own jobs that were told to stop long ago."""
        now = time.monotonic()
        for job in jobs:
            if job.cancelling and job.id in self._children and now - self._told.setdefault(job.id, now) > STOP_PATIENCE:
                _log.warning("%s does not stop, and is ended", job.title)
                self._children.kill(job.id)

    def _end(self) -> None:
        """Tell the jobs to stop and wait for them, where this one leads; otherwise they are another's by now."""
        try:
            if self._lead():
                self._stop_jobs()
                self._lease.release()
        except TiffinError as error:
            _log.warning("the controller ends without having seen all of its jobs end: %s", error)

    def _stop_jobs(self) -> None:
        deadline = time.monotonic() + self._pace.grace
        for job in self._streams():
            self._act(Stop(job))
        self._children.stop()
        while time.monotonic() < deadline and self._lead():
            self._bury()
            if not self._children and not self._streams():
                return
            time.sleep(0.1)
        if self._lease.is_held():
            self._children.kill()

    def _streams(self) -> list[JobRecord]:
        live = [job for job in self._jobs([]) if not job.status.is_final]
        return [job for job in live if job.type is JobType.STREAM_INGESTION]


def _record(kind: JobType, project: str, table: str, spec_hash: str, attempt: int) -> JobRecord:
    record = new_record(kind, project, [table], spec_hash=spec_hash, attempt=attempt)
    return started_here(record)


def _spec_of(run: Run, record: JobRecord) -> JobSpec:
    schedule = run.schedule
    spec = JobSpec(JobType.BATCH_INGESTION, schedule.project, (schedule.table,), id=record.id)
    if schedule.timespan is None:
        return spec
    return JobSpec(spec.type, spec.project, spec.tables, run.first - schedule.timespan, run.due, id=record.id)
