"""Rows: jobs as the columns of their table, and back."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from tiffin import clock
from tiffin.jobs.ledger import Report
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome, Progress
from tiffin.registry.tables import jobs

#: The states of jobs that go on.
LIVE: Final = [status.value for status in JobStatus if not status.is_final]


def said(report: Report) -> dict[str, Any]:
    """What a running job says, as columns. Its end is written by ``finish`` alone."""
    now = clock.now()
    said: dict[str, Any] = {"heartbeat": now, **progress(report), **counted(report.outcome)}
    if report.status is JobStatus.IN_PROGRESS:  # it may have waited for its turn until now
        said["state"] = sa.case((jobs.c.state == JobStatus.STARTING.value, report.status.value), else_=jobs.c.state)
        said["started"] = sa.func.coalesce(jobs.c.started, now)
    return said


def counted(outcome: Outcome) -> dict[str, Any]:
    """What a job did, as columns."""
    return {
        "rows_written": outcome.written,
        "rows_skipped": outcome.skipped,
        "rows_rejected": outcome.rejected,
    }


def progress(report: Report) -> dict[str, Any]:
    """How far a job is, as columns."""
    done, total, unit, lag = msgspec.structs.astuple(report.progress)
    detail = _detail(report.job) | {"done": done, "unit": unit} | ({} if lag is None else {"lag": lag})
    return {"rows_total": total, "progress": done / total if total else None, "detail": detail}


def _detail(record: JobRecord) -> dict[str, Any]:
    return {"tables": list(record.tables)} | ({"attempt": record.attempt} if record.attempt else {})


def from_record(record: JobRecord) -> dict[str, Any]:
    """A job that is about to start, as a row."""
    return {
        "id": record.id,
        "type": record.type.value,
        "project": record.project,
        "table_name": record.tables[0] if len(record.tables) == 1 else "",
        "state": record.status.value,
        "spec_hash": record.spec_hash,
        "created": record.start,
        "started": record.start if record.status is JobStatus.IN_PROGRESS else None,
        "rows_written": 0,
        "rows_skipped": 0,
        "rows_rejected": 0,
        "output_uri": record.output or None,
        "cancel_requested": False,
        "host": record.host,
        "pid": record.pid,
        "heartbeat": record.heartbeat,
        "detail": _detail(record),
    }


def to_record(row: sa.RowMapping) -> JobRecord:
    """The job that a row holds."""
    detail = row["detail"]
    return JobRecord(
        id=row["id"],
        type=JobType(row["type"]),
        project=row["project"],
        tables=tuple(detail["tables"]),
        status=JobStatus(row["state"]),
        start=row["created"],
        end=row["ended"],
        outcome=Outcome(row["rows_written"], row["rows_skipped"], row["rows_rejected"]),
        progress=Progress(detail.get("done", 0), row["rows_total"], detail.get("unit", "rows"), detail.get("lag")),
        error=row["error"] or "",
        output=row["output_uri"] or "",
        host=row["host"],
        pid=row["pid"],
        heartbeat=row["heartbeat"] or 0,
        spec_hash=row["spec_hash"],
        attempt=detail.get("attempt", 0),
        cancelling=row["cancel_requested"],
    )
