"""The record of jobs: rows of the database, which every process that opens it can list."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from tiffin import clock
from tiffin.errors import NotFound
from tiffin.jobs import rows
from tiffin.jobs.claim_store import ClaimStore, ScheduleStore
from tiffin.jobs.lease_store import LeaseStore
from tiffin.jobs.ledger import Report, is_lost, lost
from tiffin.jobs.record import JobRecord, JobStatus, Outcome, Pruned
from tiffin.jobs.retention import prune_database
from tiffin.registry.database import reading, writing
from tiffin.registry.dialect import storable
from tiffin.registry.tables import job_logs, jobs


class JobStore:
    """The jobs of one database.

    ``look``: processes of this machine that are gone are noticed. A service does not: its jobs are those of others,
    and a host of the same name may be another one.
    """

    def __init__(self, database: sa.Engine, *, look: bool = True) -> None:
        self._database = database
        self._look = look

    @property
    def leases(self) -> LeaseStore:
        """The leases that are kept beside them: who may do what alone."""
        return LeaseStore(self._database)

    @property
    def claims(self) -> ClaimStore:
        """What controllers record of jobs that they run."""
        return ClaimStore(self._database)

    @property
    def schedules(self) -> ScheduleStore:
        """The tables that are materialised again and again."""
        return ScheduleStore(self._database)

    def add(self, record: JobRecord) -> None:
        """Record a job that is about to start."""
        with writing(self._database) as connection:
            connection.execute(jobs.insert().values(rows.from_record(record)))

    def get(self, job_id: str) -> JobRecord:
        """One job; NotFound if there is none of that id."""
        with reading(self._database) as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.", field="job_id", hint="list_jobs() tells which there are.")
        return self._checked(rows.to_record(row))

    def find(
        self, *, include_terminated: bool = False, table: str | None = None, project: str | None = None
    ) -> list[JobRecord]:
        """Jobs, the newest first; those that ended only if asked for."""
        projects = None if project is None else [project]
        query = _newest(include_terminated=include_terminated, table=table, projects=projects)
        return self._wanted(self._read(query), include_terminated=include_terminated, table=table)

    def page(
        self,
        limit: int,
        *,
        after: tuple[int, str] | None = None,
        include_terminated: bool = False,
        table: str | None = None,
        projects: Collection[str] | None = None,
    ) -> list[JobRecord]:
        """At most ``limit`` jobs of some projects, as :meth:`find` orders them.

        They follow the job that started at ``after[0]`` and has the id ``after[1]``.
        """
        query = _newest(include_terminated=include_terminated, table=table, projects=projects).limit(limit)
        found: list[JobRecord] = []
        while True:
            read = self._read(query if after is None else query.where(_follows(*after)))
            found += self._wanted(read, include_terminated=include_terminated, table=table)
            if len(found) >= limit or len(read) < limit:
                return found[:limit]
            after = (read[-1].start, read[-1].id)

    def report(self, reports: Iterable[Report]) -> set[str]:
        """Record what running jobs say and that they are alive; the ids of those that should stop."""
        said = list(reports)
        with writing(self._database) as connection:
            for report in said:
                connection.execute(jobs.update().where(jobs.c.id == report.job.id).values(rows.said(report)))
                _append(connection, report)
            query = sa.select(jobs.c.id).where(
                jobs.c.id.in_([report.job.id for report in said]), jobs.c.cancel_requested
            )
            return set(connection.execute(query).scalars())

    def finish(self, report: Report, outcome: Outcome, error: str) -> None:
        """Record how a job ended. The process that ran it has the last word, whatever others took it for."""
        with writing(self._database) as connection:
            _append(connection, report)
            connection.execute(
                jobs.update()
                .where(jobs.c.id == report.job.id)
                .values(
                    state=report.status.value,
                    ended=clock.now(),
                    error=storable(error) or None,
                    **rows.counted(outcome),
                    **rows.progress(report),
                )
            )

    def fail(self, record: JobRecord, reason: str) -> JobRecord:
        """Record a job as failed unless it ended, or gave a sign of life after ``record`` was read."""
        with writing(self._database) as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == record.id, jobs.c.state.in_(rows.LIVE), jobs.c.heartbeat <= record.heartbeat)
                .values(state=JobStatus.FAILED.value, ended=clock.now(), error=storable(reason))
            )
            row = connection.execute(sa.select(jobs).where(jobs.c.id == record.id)).mappings().one()
        return rows.to_record(row)

    def request_cancel(self, job_id: str) -> None:
        """Ask whoever runs a job to stop it; nothing if it has ended."""
        with writing(self._database) as connection:
            connection.execute(
                jobs.update().where(jobs.c.id == job_id, jobs.c.state.in_(rows.LIVE)).values(cancel_requested=True)
            )

    def set_output(self, job_id: str, uri: str) -> None:
        """Record where a job's rows were written."""
        with writing(self._database) as connection:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(output_uri=uri))

    def prune(self, jobs_before: int | None, audit_before: int | None) -> Pruned:
        """Delete jobs and events of the audit log that ended before these instants; None leaves all."""
        return prune_database(self._database, jobs_before, audit_before)

    def log(self, job_id: str) -> list[tuple[int, str]]:
        """The lines of a job's log with their instants."""
        query = sa.select(job_logs.c.at, job_logs.c.line).where(job_logs.c.job_id == job_id).order_by(job_logs.c.seq)
        with reading(self._database) as connection:
            return [(at, line) for at, line in connection.execute(query)]

    def _read(self, query: sa.Select[Any]) -> list[JobRecord]:
        with reading(self._database) as connection:
            return [rows.to_record(row) for row in connection.execute(query).mappings()]

    def _wanted(self, records: Iterable[JobRecord], *, include_terminated: bool, table: str | None) -> list[JobRecord]:
        """Those that really are of a table, and go on where only such are wanted: some are found gone by looking."""
        checked = (self._checked(record) for record in records)
        return [
            record
            for record in checked
            if (table is None or table in record.tables) and (include_terminated or not record.status.is_final)
        ]

    def _checked(self, record: JobRecord) -> JobRecord:
        """The record, failed if its process is gone."""
        return self.fail(record, lost(record)) if is_lost(record, look=self._look) else record


def _newest(*, include_terminated: bool, table: str | None, projects: Collection[str] | None) -> sa.Select[Any]:
    query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id)
    if not include_terminated:
        query = query.where(jobs.c.state.in_(rows.LIVE))
    if table is not None:
        query = query.where(jobs.c.table_name.in_([table, ""]))  # a job of several tables has the empty name
    if projects is not None:
        query = query.where(jobs.c.project.in_(projects))
    return query


def _follows(start: int, job_id: str) -> sa.ColumnElement[bool]:
    return sa.or_(jobs.c.created < start, sa.and_(jobs.c.created == start, jobs.c.id > job_id))


def _append(connection: sa.Connection, report: Report) -> None:
    if not report.lines:
        return
    of_job = job_logs.c.job_id == report.job.id
    last = connection.execute(sa.select(sa.func.max(job_logs.c.seq)).where(of_job)).scalar()
    first = 0 if last is None else last + 1
    lines = [
        {"job_id": report.job.id, "seq": first + number, "at": at, "line": storable(line)}
        for number, (at, line) in enumerate(report.lines)
    ]
    connection.execute(job_logs.insert(), lines)
