"""Job: the handle that callers hold, in the process that runs the job or in any other.

In the running process a handle asks the task, and :class:`~tiffin.errors.JobFailed` carries the error itself as its
cause. Elsewhere it asks the record.
"""

from __future__ import annotations

import time
from datetime import datetime

from tiffin import clock
from tiffin.errors import JobCancelled, JobFailed, JobTimeout, TiffinError
from tiffin.jobs.ledger import JobLedger
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome, Progress
from tiffin.jobs.task import Task


class Job:
    """One job. Handles are cheap: several may exist for one job."""

    def __init__(self, record: JobRecord, store: JobLedger, task: Task | None = None) -> None:
        self._record = record
        self._store = store
        self._task = task

    def get_id(self) -> str:
        """What :meth:`tiffin.Client.get_job` finds it by."""
        return self._record.id

    def get_status(self) -> JobStatus:
        """The state now."""
        task = self._local()
        return task.status if task is not None else self.record.status

    def get_start_time(self) -> datetime:
        """When it was started, in UTC."""
        return clock.to_datetime(self._record.start)

    def cancel(self) -> None:
        """Ask it to stop, which it does between two buckets or batches; nothing if it has ended.

        What it wrote until then stays. :meth:`wait` raises JobCancelled once it has stopped.
        """
        task = self._local()
        if task is not None:
            task.control.cancel()
        else:
            self._store.request_cancel(self._record.id)

    def wait(self, timeout_sec: float | None = None) -> None:
        """Return once it has completed; None waits without limit.

        Raises JobFailed from the cause, JobCancelled, or JobTimeout, upon which the job goes on.
        """
        task = self._local()
        if not (self._poll(timeout_sec) if task is None else task.finished.wait(timeout_sec)):
            raise JobTimeout(
                f"{self._record.title} did not end within {timeout_sec:g} s.",
                field="timeout_sec",
                hint="It goes on: wait again, or cancel it.",
            )
        status = self.get_status()
        if status is JobStatus.FAILED:
            raise self._failure()
        if status is JobStatus.CANCELLED:
            raise JobCancelled(f"{self._record.title} was cancelled.")

    def wait_here(self) -> None:
        """Wait as the caller itself would have worked: an interrupt (Ctrl-C) stops the job, too."""
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel()
            raise

    @property
    def record(self) -> JobRecord:
        """All that is recorded of it, read now."""
        return self._store.get(self._record.id)

    @property
    def type(self) -> JobType:
        """What it does."""
        return self._record.type

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the feature tables it reads or writes."""
        return self._record.tables

    @property
    def progress(self) -> Progress:
        """How far it is."""
        task = self._local()
        return task.control.state if task is not None else self.record.progress

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return self.record.error

    def log(self) -> list[str]:
        """The lines that it has logged, each with its instant; the newest half second of a running job is missing."""
        return [f"{clock.to_iso(at)} {line}" for at, line in self._store.log(self._record.id)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._record.id} {self.get_status().name} {', '.join(self.tables)}>"

    def _local(self) -> Task | None:
        """The task, if its thread is of this process."""
        return self._task if self._task is not None and self._task.is_here else None

    def _outcome(self) -> Outcome:
        task = self._local()
        return task.outcome if task is not None else self.record.outcome

    def _poll(self, timeout_sec: float | None) -> bool:
        """Wait for a job of another process, looking ever less often."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        pause = 0.02
        while not self.record.status.is_final:
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 1.0)
        return True

    def _failure(self) -> JobFailed:
        task = self._local()
        cause = task.error if task is not None else None
        reason = cause.message if isinstance(cause, TiffinError) else str(cause or self.error) or repr(cause)
        failure = JobFailed(
            f"{self._record.title} failed: {reason}",
            field=getattr(cause, "field", None),
            hint=getattr(cause, "hint", None),
        )
        failure.__cause__ = cause
        return failure


class IngestionJob(Job):
    """Rows on their way from the offline source to the online store."""

    @property
    def rows_written(self) -> int:
        """Rows that were stored, so far."""
        return self._outcome().written

    @property
    def rows_skipped(self) -> int:
        """Rows that lost to a greater rank in the store, or have no key to be read by."""
        return self._outcome().skipped

    @property
    def rows_rejected(self) -> int:
        """Rows that were set aside as invalid."""
        return self._outcome().rejected
