"""The local launcher: jobs are threads of this process.

The threads are daemons. When the interpreter ends, running jobs are cancelled and given a few seconds to stop
between two batches; those that don't are recorded as failed. Nothing they write is half-done by that: files are
committed and rows are written batch by batch.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
import weakref
from typing import Final

from msgspec.structs import replace

from tiffin import clock
from tiffin.errors import Conflict, JobCancelled, StorageError, Unavailable
from tiffin.jobs.ledger import JobLedger, Report
from tiffin.jobs.record import JobRecord, JobStatus, JobType
from tiffin.jobs.task import Task, Work

#: Seconds between two looks at the running jobs: progress is recorded and cancellation noticed this often.
WATCH_EVERY: Final = 0.5
#: Jobs that run at once; the others wait as STARTING. Each uses all cores by itself. Streams, which wait most of the
#: time and do not end, are not counted.
SLOTS: Final = 4
_ENDLESS: Final = 1 << 30
#: Seconds that an ending interpreter gives its jobs.
EXIT_GRACE: Final = 5.0
#: Seconds for which the end of a job is told again to a database that is away.
FINISH_PATIENCE: Final = 120.0

_log = logging.getLogger(__name__)


class LocalLauncher:
    """Runs jobs in threads and records them."""

    def __init__(self, store: JobLedger) -> None:
        self._store = store
        self._known: weakref.WeakValueDictionary[str, Task] = weakref.WeakValueDictionary()
        self.reset()
        _LAUNCHERS.add(self)

    def reset(self) -> None:
        """Know of no threads: what a process begins with, and what is left of them after a fork."""
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(SLOTS)
        self._streams = threading.BoundedSemaphore(_ENDLESS)
        self._running: dict[str, Task] = {}
        self._watcher: threading.Thread | None = None
        self._wake = threading.Event()

    def submit(self, record: JobRecord, work: Work, *, adopt: bool = False) -> Task:
        """Record a job and start it; returns at once.

        ``adopt`` one that a controller has recorded: Conflict where it is another's by now, or must not start any more.
        """
        task = Task(record, work)
        has_slot = self._slots_of(record).acquire(blocking=False)
        if has_slot:  # one record less to write for the many jobs that are short
            task.status = JobStatus.IN_PROGRESS
        task.record = started_here(record, task.status)
        try:
            self._record(task.record, adopt=adopt)
        except BaseException:
            if has_slot:
                self._slots_of(record).release()
            raise
        name = f"tiffin-job-{record.id}"
        thread = threading.Thread(target=self._run, args=(task,), kwargs={"has_slot": has_slot}, name=name, daemon=True)
        with self._lock:
            self._running[record.id] = self._known[record.id] = task
            if self._watcher is None:
                self._wake.clear()
                self._watcher = threading.Thread(target=self._watch, name="tiffin-jobs", daemon=True)
                self._watcher.start()
        thread.start()
        return task

    def task(self, job_id: str) -> Task | None:
        """The task of a job that this process runs or ran and that somebody still holds."""
        found = self._known.get(job_id)
        return found if found is not None and found.is_here else None

    def close(self, grace: float = EXIT_GRACE) -> None:
        """Cancel what runs and wait up to ``grace`` seconds for it to stop."""
        with self._lock:
            tasks = list(self._running.values())
            watcher = self._watcher
        for task in tasks:
            task.control.cancel()
        deadline = time.monotonic() + grace
        for task in tasks:
            if not task.finished.wait(max(0.0, deadline - time.monotonic())):
                seen_now = replace(task.record, heartbeat=clock.now())
                self._store.fail(seen_now, "The process ended before the job did.")
        self._wake.set()
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(max(0.1, deadline - time.monotonic()))

    def _slots_of(self, record: JobRecord) -> threading.BoundedSemaphore:
        return self._streams if record.type is JobType.STREAM_INGESTION else self._slots

    def _record(self, record: JobRecord, *, adopt: bool) -> None:
        if not adopt:
            self._store.add(record)
        elif not self._store.claims.adopt(record):
            raise Conflict(
                f"{record.title} is not started here: another process has it, or it was told to end.", field="id"
            )

    def _run(self, task: Task, *, has_slot: bool) -> None:
        try:
            if has_slot or self._take_slot(task):
                try:
                    task.run()
                finally:
                    self._slots_of(task.record).release()
            self._finish(task)
        finally:
            with self._lock:
                self._running.pop(task.record.id, None)
            task.finished.set()

    def _finish(self, task: Task) -> None:
        """Record how a job ended. While the database is away it is asked again, for :data:`FINISH_PATIENCE` seconds.

        A job whose end could not be told until then is taken for lost by whoever looks next: doing it again changes
        nothing of what it wrote.
        """
        report = _report(task)
        deadline = time.monotonic() + FINISH_PATIENCE
        while True:
            try:
                self._store.finish(report, task.outcome, _message(task))
            except (StorageError, Unavailable) as error:
                if time.monotonic() >= deadline:
                    _log.error("the end of job %s could not be recorded: %s", task.record.id, error)
                    return
                time.sleep(WATCH_EVERY)
            else:
                return

    def _take_slot(self, task: Task) -> bool:
        """Wait for a free slot; False if the job was cancelled before one was."""
        while not self._slots_of(task.record).acquire(timeout=WATCH_EVERY / 2):
            try:
                task.control.check()
            except JobCancelled as error:
                task.end(JobStatus.CANCELLED, error)
                return False
        task.status = JobStatus.IN_PROGRESS
        return True

    def _watch(self) -> None:
        """Record progress and learn of cancellations, until nothing runs."""
        while not self._wake.wait(WATCH_EVERY):
            with self._lock:
                tasks = list(self._running.values())
                if not tasks:
                    self._watcher = None
                    return
            reports = [_report(task) for task in tasks]
            try:
                cancelled = self._store.report(reports)
            except (StorageError, Unavailable):
                # The database is away for a moment: what was not recorded now is next time.
                for task, report in zip(tasks, reports, strict=True):
                    task.control.put_back(report.lines)
                continue
            for task in tasks:
                if task.record.id in cancelled:
                    task.control.cancel()


def started_here(record: JobRecord, status: JobStatus = JobStatus.STARTING) -> JobRecord:
    """The record with this process as the one that runs it."""
    now = clock.now()
    return replace(record, status=status, start=now, heartbeat=now, host=socket.gethostname(), pid=os.getpid())


def _report(task: Task) -> Report:
    return Report(task.record, task.status, task.control.state, task.control.take_lines(), task.outcome)


def _message(task: Task) -> str:
    if task.error is None or task.status is JobStatus.CANCELLED:
        return ""
    return str(task.error) or type(task.error).__name__


_LAUNCHERS: weakref.WeakSet[LocalLauncher] = weakref.WeakSet()


def _close_all() -> None:
    for launcher in list(_LAUNCHERS):
        launcher.close()


def _reset_all() -> None:
    for launcher in list(_LAUNCHERS):
        launcher.reset()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_reset_all)
