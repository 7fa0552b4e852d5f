"""RemoteClaims and RemoteSchedules: what controllers record, in a registry service."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tiffin.jobs.claims import Fence
from tiffin.jobs.decide import Run
from tiffin.jobs.record import JobRecord
from tiffin.jobs.schedule import Schedule
from tiffin.remote.http import Connection

_CONTROL: Final = "/api/v1/control"


class RemoteClaims:
    """The claims of a registry service: :class:`~tiffin.jobs.claims.Claims`. Safe to use from several threads.

    Where the answer to a claim is lost, nobody knows whether the job was recorded. It is not asked for twice: a job
    that was recorded and is not started is found by the controller at its next look.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def managed(self, hashes: Collection[str]) -> list[JobRecord]:
        answer = self._connection.post(f"{_CONTROL}/managed", {"hashes": sorted(hashes)}, retry=True)
        return msgspec.convert(answer, list[JobRecord])

    def start(self, record: JobRecord, fence: Fence) -> bool:
        return self._ask("start", {"job": _job(record), "fence": fence._asdict()})

    def stop(self, job_id: str, fence: Fence) -> bool:
        return self._ask("stop", {"id": job_id, "fence": fence._asdict()}, retry=True)

    def run(self, run: Run, record: JobRecord, fence: Fence) -> bool:
        body = run._asdict() | {"schedule": msgspec.to_builtins(run.schedule)}
        return self._ask("run", {"run": body, "job": _job(record), "fence": fence._asdict()})

    def adopt(self, record: JobRecord) -> bool:
        return self._ask("adopt", {"job": _job(record)}, retry=True)

    def _ask(self, what: str, body: dict[str, Any], *, retry: bool = False) -> bool:
        return bool(self._connection.post(f"{_CONTROL}/{what}", body, retry=retry)["done"])


class RemoteSchedules:
    """The schedules of a registry service: :class:`~tiffin.jobs.claims.Schedules`.

    The service says when the first run is due, and who made a schedule.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, schedule: Schedule) -> None:
        body = {"cron": schedule.cron, "timespan": schedule.timespan, "by": schedule.created_by}
        self._connection.put(_path(schedule.project, schedule.table), body, retry=True)

    def remove(self, project: str, table: str) -> None:
        self._connection.delete(_path(project, table), retry=True)

    def all(self, project: str | None = None) -> list[Schedule]:
        return msgspec.convert(self._connection.get("/api/v1/schedules", project=project), list[Schedule])


def _path(project: str, table: str) -> str:
    return f"/api/v1/projects/{quote(project, safe='')}/schedules/{quote(table, safe='')}"


def _job(record: JobRecord) -> dict[str, Any]:
    """What the service is told of a job that is about to start."""
    told = ("id", "type", "project", "tables", "status", "start", "heartbeat", "host", "pid", "spec_hash", "attempt")
    data: dict[str, Any] = msgspec.to_builtins(record)
    return {name: data[name] for name in told}
