"""How long work is watched: a bar on a terminal, log lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from tiffin.cli import output
from tiffin.errors import JobCancelled, JobFailed, JobTimeout

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from tiffin.jobs.base import Job
    from tiffin.jobs.record import Progress as State

J = TypeVar("J", bound="Job")

#: Seconds between two looks at a job, on a terminal and elsewhere.
_FRAME: Final = 0.1
_LINE: Final = 1.0
#: Seconds that an interrupted job gets to stop between two batches.
_GRACE: Final = 10.0


def watch(job: J, title: str) -> J:
    """Wait for a job, showing how far it is; an interrupt cancels the job before it ends the command.

    Raises JobFailed or JobCancelled as the job ends.
    """
    try:
        if sys.stderr.isatty():
            _watch_bar(job, title)
        else:
            _watch_lines(job)
    except KeyboardInterrupt:
        output.note("Stopping the job…")
        job.cancel()
        try:
            job.wait(_GRACE)
        except (JobCancelled, JobFailed, JobTimeout) as ended:
            output.note(ended.message)
        raise
    return job


def progress_words(state: State) -> str:
    """How far work is: ``2,000 of 10,000 rows``; empty before it has begun."""
    total = "" if state.total is None else f" of {state.total:,}"
    return f"{state.done:,}{total} {state.unit}" if state.done else ""


@contextmanager
def working(title: str) -> Iterator[None]:
    """A sign of life on a terminal, for work that does not say how far it is."""
    if not sys.stderr.isatty():
        yield
        return
    with output.console(stderr=True).status(title):
        yield


def _watch_bar(job: Job, title: str) -> None:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=None, count="")
        while not _ended(job, _FRAME):
            _move(progress, bar, job)
        _move(progress, bar, job)


def _move(progress: Progress, bar: TaskID, job: Job) -> None:
    state = job.progress
    progress.update(bar, completed=state.done, total=state.total, count=progress_words(state))


def _watch_lines(job: Job) -> None:
    """New lines of the log, and now and then how far it is."""
    told = 0
    said = ""
    due = time.monotonic() + 5 * _LINE
    while not _ended(job, _LINE):
        told = _tell(job, told)
        line = progress_words(job.progress)
        if line and line != said and time.monotonic() >= due:
            said, due = line, time.monotonic() + 5 * _LINE
            output.note(line)
    _tell(job, told)


def _tell(job: Job, told: int) -> int:
    lines = job.log()
    for line in lines[told:]:
        output.note(line)
    return len(lines)


def _ended(job: Job, patience: float) -> bool:
    """Whether the job completed within ``patience`` seconds; raises as it failed or was cancelled."""
    try:
        job.wait(patience)
    except JobTimeout:
        return False
    return True
