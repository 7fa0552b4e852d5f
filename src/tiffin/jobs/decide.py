"""Decide: what a controller should do next, as a function of what should run and what does. It touches nothing.

All that it needs is in the record of jobs, how often a job was started in a row among it: so a controller that takes
over from another goes on where that one was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tiffin.jobs.record import JobRecord, JobStatus
from tiffin.jobs.schedule import Schedule, last_time, next_time

_SECOND: Final = 1_000_000
#: The pause before a job is started again, which doubles with each attempt up to the longest.
FIRST_PAUSE: Final = _SECOND
LONGEST_PAUSE: Final = 300 * _SECOND
#: A job that ran for this long was well: what comes after it is a first attempt.
HEALTHY_AFTER: Final = 600 * _SECOND
#: Attempts at one run of a schedule, until the next one is due.
ATTEMPTS: Final = 6


class Wanted(NamedTuple):
    """A stream that should be read, and the hash of the definition by which."""

    project: str
    table: str
    hash: str


class Start(NamedTuple):
    """Start a job; ``attempt`` is the number of starts in a row, of jobs that did not last."""

    wanted: Wanted
    attempt: int


class Stop(NamedTuple):
    """Tell a job to finish its batch and stop."""

    job: JobRecord


class Run(NamedTuple):
    """Run a schedule for all that became due from ``first`` to ``due``; the one after it is due at ``following``."""

    schedule: Schedule
    first: int
    due: int
    following: int
    attempt: int


def streams(wanted: Iterable[Wanted], jobs: Sequence[JobRecord], now: int) -> list[Start | Stop]:
    """What to do about streams. ``jobs`` are those that run, and the newest that ended of each wanted hash.

    Of each table that is wanted, the oldest job of the right definition goes on and every other stops; where none runs
    at all, one is started, unless the last one failed a moment ago.
    """
    live: dict[tuple[str, str], list[JobRecord]] = {}
    ended: dict[str, JobRecord] = {}
    for job in sorted(jobs, key=lambda each: (each.start, each.id)):
        if job.status.is_final:
            ended[job.spec_hash] = job
        else:
            live.setdefault((job.project, job.tables[0]), []).append(job)
    actions: list[Start | Stop] = []
    for want in wanted:
        running = live.pop((want.project, want.table), [])
        kept = next((job for job in running if job.spec_hash == want.hash and not job.cancelling), None)
        actions += (Stop(job) for job in running if job is not kept and not job.cancelling)
        last = ended.get(want.hash)
        if not running and (last is None or now >= ready_at(last)):
            actions.append(Start(want, next_attempt(last)))
    return actions + [Stop(job) for jobs in live.values() for job in jobs if not job.cancelling]


def run(schedule: Schedule, last: JobRecord | None, now: int) -> Run | None:
    """What to do about a schedule, whose last claimed run was the job ``last``.

    Runs that were missed are one run. A run that failed is tried again, a few times; what is due meanwhile joins it,
    and so does what is due after the last attempt, so that no window is left out. A run never begins beside another.
    """
    if last is not None and not last.status.is_final:
        return None
    failed = last is not None and _is_unfinished(last)
    is_due = schedule.due <= now
    if not is_due and not (failed and last is not None and last.attempt < ATTEMPTS and now >= ready_at(last)):
        return None
    first = schedule.run_from if failed and schedule.run_from is not None else schedule.due
    due = last_time(schedule.cron, now) if is_due else schedule.run_due
    if due is None or due < first:
        return None
    following = next_time(schedule.cron, now) if is_due else schedule.due
    return Run(schedule, first, due, following, 1 if is_due else next_attempt(last))


def next_attempt(last: JobRecord | None) -> int:
    """The number of the next attempt after a job that ended."""
    if last is None or last.status is JobStatus.CANCELLED or _lasted(last):
        return 1
    return last.attempt + 1


def ready_at(last: JobRecord) -> int:
    """When a job that ended may be started again: at once if it was told to end, else after a pause.

    The pause doubles with every attempt, and is shortened by up to a half, at random, so that jobs which failed
    together do not come back together. The chance is drawn from the job's id: asking twice gives one answer.
    """
    end = last.start if last.end is None else last.end
    if last.status is JobStatus.CANCELLED:
        return end
    attempt = 1 if _lasted(last) else max(last.attempt, 1)
    pause = min(LONGEST_PAUSE, FIRST_PAUSE << min(attempt - 1, 16))
    return end + pause - pause * zlib.crc32(last.id.encode()) // 2**33


def _lasted(job: JobRecord) -> bool:
    return job.end is not None and job.end - job.start >= HEALTHY_AFTER


def _is_unfinished(job: JobRecord) -> bool:
    """Whether a run did not do its work: it failed, or its controller stopped; not where somebody cancelled it."""
    return job.status is JobStatus.FAILED or (job.status is JobStatus.CANCELLED and not job.cancelling)
