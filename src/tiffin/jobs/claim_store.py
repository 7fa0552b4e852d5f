"""ClaimStore and ScheduleStore: what controllers record, as rows of the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from tiffin.errors import ConcurrentChange
from tiffin.jobs import rows
from tiffin.jobs.claims import Fence
from tiffin.jobs.decide import Run
from tiffin.jobs.lease_store import database_now, is_holder
from tiffin.jobs.record import JobRecord, JobStatus
from tiffin.jobs.schedule import Schedule
from tiffin.registry.database import reading, writing
from tiffin.registry.tables import jobs, schedules

#: Hashes of one query.
_CHUNK: Final = 500


class ClaimStore:
    """The claims of one database: :class:`~tiffin.jobs.claims.Claims`."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def managed(self, hashes: Collection[str]) -> list[JobRecord]:
        live = sa.select(jobs).where(jobs.c.state.in_(rows.LIVE), jobs.c.spec_hash != "")
        with reading(self._database) as connection:
            found = [rows.to_record(row) for row in connection.execute(live).mappings()]
            for chunk in _chunks(sorted(hashes)):
                found += (rows.to_record(row) for row in connection.execute(_newest_ended(chunk)).mappings())
        return found

    def start(self, record: JobRecord, fence: Fence) -> bool:
        with writing(self._database) as connection:
            if not is_holder(connection, *fence):
                return False
            same = sa.select(jobs.c.id).where(jobs.c.spec_hash == record.spec_hash, jobs.c.state.in_(rows.LIVE))
            if connection.execute(same.limit(1)).first() is not None:
                return False
            connection.execute(jobs.insert().values(rows.from_record(record)))
        return True

    def stop(self, job_id: str, fence: Fence) -> bool:
        with writing(self._database) as connection:
            if not is_holder(connection, *fence):
                return False
            asked = jobs.update().where(jobs.c.id == job_id, jobs.c.state.in_(rows.LIVE))
            connection.execute(asked.values(cancel_requested=True))
        return True

    def run(self, run: Run, record: JobRecord, fence: Fence) -> bool:
        decided = run.schedule
        row_of = (schedules.c.project == decided.project, schedules.c.table_name == decided.table)
        with writing(self._database) as connection:
            if not is_holder(connection, *fence):
                return False
            row = connection.execute(sa.select(schedules).where(*row_of).with_for_update()).mappings().first()
            if row is None or _schedule(row) != decided or run.due > database_now(connection):
                return False
            connection.execute(jobs.insert().values(rows.from_record(record)))
            claimed = {"due": run.following, "run_from": run.first, "run_due": run.due, "run_job": record.id}
            connection.execute(schedules.update().where(*row_of).values(claimed))
        return True

    def adopt(self, record: JobRecord) -> bool:
        mine = sa.and_(jobs.c.host == record.host, jobs.c.pid == record.pid)  # who asks again gets the same answer
        waiting = jobs.update().where(
            jobs.c.id == record.id,
            jobs.c.state == JobStatus.STARTING.value,
            sa.or_(jobs.c.started.is_(None), mine),
            sa.not_(jobs.c.cancel_requested),
        )
        taken = waiting.values(host=record.host, pid=record.pid, heartbeat=record.heartbeat, started=record.heartbeat)
        with writing(self._database) as connection:
            return bool(connection.execute(taken).rowcount)


class ScheduleStore:
    """The schedules of one database: :class:`~tiffin.jobs.claims.Schedules`."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def put(self, schedule: Schedule) -> None:
        try:
            self._put(schedule)
        except ConcurrentChange:
            # Two made the row at once. Now it is there.
            self._put(schedule)

    def remove(self, project: str, table: str) -> None:
        with writing(self._database) as connection:
            connection.execute(
                schedules.delete().where(schedules.c.project == project, schedules.c.table_name == table)
            )

    def all(self, project: str | None = None) -> list[Schedule]:
        query = sa.select(schedules).order_by(schedules.c.project, schedules.c.table_name)
        if project is not None:
            query = query.where(schedules.c.project == project)
        with reading(self._database) as connection:
            return [_schedule(row) for row in connection.execute(query).mappings()]

    def _put(self, schedule: Schedule) -> None:
        own = {"cron": schedule.cron, "timespan": schedule.timespan, "due": schedule.due}
        own |= {"created": schedule.created, "created_by": schedule.created_by}
        key = {"project": schedule.project, "table_name": schedule.table}
        row_of = (schedules.c.project == schedule.project, schedules.c.table_name == schedule.table)
        with writing(self._database) as connection:
            if not connection.execute(schedules.update().where(*row_of).values(own)).rowcount:
                connection.execute(schedules.insert().values(key | own))


def _newest_ended(hashes: Sequence[str]) -> sa.Select[Any]:
    order = (jobs.c.created.desc(), jobs.c.id.desc())
    place = sa.func.row_number().over(partition_by=jobs.c.spec_hash, order_by=order).label("place")
    ended = jobs.c.state.not_in(rows.LIVE)
    ranked = sa.select(jobs.c.id, place).where(jobs.c.spec_hash.in_(hashes), ended).subquery()
    return sa.select(jobs).join(ranked, sa.and_(ranked.c.id == jobs.c.id, ranked.c.place == 1))


def _schedule(row: sa.RowMapping) -> Schedule:
    return Schedule(
        project=row["project"],
        table=row["table_name"],
        cron=row["cron"],
        timespan=row["timespan"],
        due=row["due"],
        created=row["created"],
        created_by=row["created_by"],
        run_from=row["run_from"],
        run_due=row["run_due"],
        run_job=row["run_job"],
    )


def _chunks(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(hashes), _CHUNK):
        yield hashes[first : first + _CHUNK]
