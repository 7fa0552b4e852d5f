"""Retention: jobs that ended long ago, their logs, and old events of the audit log are deleted, batch by batch.

A batch is a transaction of its own, so that nobody waits for long and what was deleted stays so when the rest fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import sqlalchemy as sa

from tiffin import clock
from tiffin.config import Config
from tiffin.errors import InvalidArgument, PermissionDenied
from tiffin.jobs import rows
from tiffin.jobs.ledger import JobLedger
from tiffin.jobs.record import Pruned
from tiffin.registry.audit import AuditLog
from tiffin.registry.database import reading, writing
from tiffin.registry.tables import job_logs, jobs

#: Jobs of one transaction.
BATCH: Final = 1_000
#: Seconds between two times that a controller does it.
_EVERY: Final = 3_600.0
_DAY: Final = 86_400_000_000

_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """Days for which ended jobs and events of the audit log are kept; None for ever."""

    jobs: float | None
    audit: float | None

    @classmethod
    def of(cls, config: Config, *, jobs: float | None = None, audit: float | None = None) -> Limits:
        """The limits that options set, where no others are given."""
        chosen = (_days(config, "jobs_retention_days", jobs), _days(config, "audit_retention_days", audit))
        return cls(*chosen)


def prune(ledger: JobLedger, limits: Limits) -> Pruned:
    """Delete what is past its limits; PermissionDenied where a service does not let the caller."""
    now = clock.now()
    before = [None if days is None else now - round(days * _DAY) for days in limits]
    return Pruned() if before == [None, None] else ledger.prune(*before)


def pruning(ledger: JobLedger, limits: Limits) -> Callable[[], None]:
    """What a controller does at each look: the same, once in a while."""
    due = 0.0

    def chore() -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + _EVERY
        try:
            pruned = prune(ledger, limits)
        except PermissionDenied as error:
            _log.warning("old jobs and events are not deleted: %s", error)
            return
        if pruned != Pruned():
            _log.info("deleted %d jobs and %d events of the audit log, past retention", pruned.jobs, pruned.events)

    return chore


def prune_database(database: sa.Engine, jobs_before: int | None, audit_before: int | None) -> Pruned:
    """Delete jobs and events that ended before these instants, in UTC microseconds; None leaves all."""
    ended = 0 if jobs_before is None else _prune_jobs(database, jobs_before)
    events = 0 if audit_before is None else AuditLog(database).prune(audit_before)
    return Pruned(ended, events)


def _prune_jobs(database: sa.Engine, before: int) -> int:
    old = sa.select(jobs.c.id).where(jobs.c.state.not_in(rows.LIVE), jobs.c.ended < before).limit(BATCH)
    pruned = 0
    while True:
        with reading(database) as connection:
            ids = list(connection.execute(old).scalars())
        if not ids:
            return pruned
        with writing(database) as connection:
            connection.execute(job_logs.delete().where(job_logs.c.job_id.in_(ids)))
            pruned += connection.execute(jobs.delete().where(jobs.c.id.in_(ids))).rowcount


def _days(config: Config, option: str, given: float | None) -> float | None:
    days = given if given is not None else config.getfloat(option) if config.exists(option) else None
    if days is not None and not 0 <= days <= 100_000:
        raise InvalidArgument(
            f"{option}: {days:g} days are no retention.", field=option, hint="Give a number of days, 0 or more."
        )
    return days
