"""RemoteJobStore: the jobs that a registry service records, so that a team sees all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tiffin.errors import StorageError, Unavailable
from tiffin.jobs.ledger import Report, is_lost, lost
from tiffin.jobs.record import JobRecord, Outcome, Pruned
from tiffin.jobs.remote_control import RemoteClaims, RemoteSchedules
from tiffin.jobs.remote_leases import RemoteLeases
from tiffin.remote.http import Connection

_JOBS: Final = "/api/v1/jobs"
#: Jobs of one page of a list.
_PAGE: Final = 1000
#: Seconds that the end of a job waits for a service that is away: what is not recorded then is lost to others.
_PATIENCE: Final = 60.0


class RemoteJobStore:
    """The jobs of a registry service: a :class:`~tiffin.jobs.ledger.JobLedger`. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Jobs of which nobody knows whether their last report arrived.
        self._unsure: set[str] = set()

    @property
    def leases(self) -> RemoteLeases:
        return RemoteLeases(self._connection)

    @property
    def claims(self) -> RemoteClaims:
        return RemoteClaims(self._connection)

    @property
    def schedules(self) -> RemoteSchedules:
        return RemoteSchedules(self._connection)

    def add(self, record: JobRecord) -> None:
        self._connection.post(_JOBS, msgspec.to_builtins(record), retry=True)

    def get(self, job_id: str) -> JobRecord:
        return self._checked(_record(self._connection.get(_path(job_id))))

    def find(
        self, *, include_terminated: bool = False, table: str | None = None, project: str | None = None
    ) -> list[JobRecord]:
        found: list[JobRecord] = []
        cursor: str | None = None
        while True:
            page = self._connection.get(
                _JOBS,
                include_terminated=include_terminated,
                table=table,
                project=project,
                limit=_PAGE,
                cursor=cursor,
            )
            found += (self._checked(_record(item)) for item in page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return [each for each in found if include_terminated or not each.status.is_final]

    def report(self, reports: Iterable[Report]) -> set[str]:
        said = list(reports)
        ids = {report.job.id for report in said}
        body = {"reports": [_said(report, again=report.job.id in self._unsure) for report in said]}
        try:
            answer = self._connection.post(f"{_JOBS}/reports", body)
        except (StorageError, Unavailable):
            self._unsure |= ids
            raise
        self._unsure -= ids
        return set(answer["cancelled"])

    def finish(self, report: Report, outcome: Outcome, error: str) -> None:
        body = {"report": _said(report, again=True), "outcome": msgspec.to_builtins(outcome), "error": error}
        self._connection.post(f"{_path(report.job.id)}/finish", body, retry=True, timeout=_PATIENCE)
        self._unsure.discard(report.job.id)

    def fail(self, record: JobRecord, reason: str) -> JobRecord:
        body = {"heartbeat": record.heartbeat, "reason": reason}
        return _record(self._connection.post(f"{_path(record.id)}/fail", body, retry=True))

    def request_cancel(self, job_id: str) -> None:
        self._connection.post(f"{_path(job_id)}/cancel", retry=True)

    def set_output(self, job_id: str, uri: str) -> None:
        self._connection.put(f"{_path(job_id)}/output", {"uri": uri}, retry=True)

    def prune(self, jobs_before: int | None, audit_before: int | None) -> Pruned:
        body = {"jobs_before": jobs_before, "audit_before": audit_before}
        return msgspec.convert(self._connection.post("/api/v1/control/prune", body, timeout=_PATIENCE), Pruned)

    def log(self, job_id: str) -> list[tuple[int, str]]:
        return [(int(each["at"]), str(each["line"])) for each in self._connection.get(f"{_path(job_id)}/log")]

    def _checked(self, record: JobRecord) -> JobRecord:
        """The record, failed if its process was one of this machine and is gone, which the service cannot see."""
        return self.fail(record, lost(record)) if is_lost(record) else record


def _path(job_id: str) -> str:
    return f"{_JOBS}/{quote(job_id, safe='')}"


def _record(data: Any) -> JobRecord:
    return msgspec.convert(data, JobRecord)


def _said(report: Report, *, again: bool) -> dict[str, Any]:
    return {
        "id": report.job.id,
        "status": report.status.value,
        "progress": msgspec.to_builtins(report.progress),
        "rows": msgspec.to_builtins(report.outcome),
        "lines": [{"at": at, "line": line} for at, line in report.lines],
        "again": again,
    }
