"""Task: one job while it runs in this process, and the control through which its work is watched and stopped."""

from __future__ import annotations

import os
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from tiffin import clock
from tiffin.control import Control
from tiffin.errors import JobCancelled, TiffinError
from tiffin.jobs.record import JobRecord, JobStatus, Outcome, Progress


class Work(Protocol):
    """What a job does."""

    def run(self, control: Control) -> Outcome:
        """Do it. Whatever is raised ends the job."""
        ...


class TaskControl(Control):
    """Keeps progress and log in memory, from where the launcher takes them; touches no disk and no database."""

    def __init__(self) -> None:
        self.state = Progress()
        self.outcome = Outcome()
        self._lines: deque[tuple[int, str]] = deque()
        self._cancelled = threading.Event()

    def check(self) -> None:
        if self._cancelled.is_set():
            raise JobCancelled("The job was cancelled.")

    def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
        self.state = Progress(done, total, unit, self.state.lag)

    def rows(self, written: int, skipped: int = 0, rejected: int = 0) -> None:
        self.outcome = Outcome(written, skipped, rejected)

    def lag(self, seconds: float | None) -> None:
        self.state = replace(self.state, lag=seconds)

    def log(self, line: str) -> None:
        self._lines.append((clock.now(), line))

    def cancel(self) -> None:
        """Make the next check raise."""
        self._cancelled.set()

    def take_lines(self) -> list[tuple[int, str]]:
        """The lines since the last call, with their instants."""
        return [self._lines.popleft() for _ in range(len(self._lines))]

    def put_back(self, lines: Sequence[tuple[int, str]]) -> None:
        """Keep lines that were taken and could not be recorded."""
        self._lines.extendleft(reversed(lines))


class Task:
    """One run of one job in this process. ``error`` is what ended it, None where it completed."""

    def __init__(self, record: JobRecord, work: Work) -> None:
        self.record = record
        self.work = work
        self.control = TaskControl()
        self.status = JobStatus.STARTING
        self.error: BaseException | None = None
        self.finished = threading.Event()
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether its thread is of this process: a fork copies the task but not the thread."""
        return self._pid == os.getpid()

    @property
    def outcome(self) -> Outcome:
        """What it has done so far."""
        return self.control.outcome

    def run(self) -> None:
        """Do the work and keep what became of it."""
        try:
            self.control.check()
            self.control.outcome = self.work.run(self.control)
        except JobCancelled as error:
            self.end(JobStatus.CANCELLED, error)
        except BaseException as error:  # noqa: BLE001  # whatever ends the work ends the job; its waiter raises it
            if not isinstance(error, TiffinError):
                self.control.log("".join(traceback.format_exception(error)).rstrip())
            self.end(JobStatus.FAILED, error)
        else:
            self.status = JobStatus.COMPLETED

    def end(self, status: JobStatus, error: BaseException) -> None:
        """Keep what ended it."""
        self.error = error
        self.status = status
