"""Every route of both services, with a request for it and the least that its caller must be.

``READER``, ``WRITER`` and ``ADMIN`` are roles in the project ``rides``, which all requests are about; ``EVERY`` is an
admin of every project; ``CALLER`` anyone with a valid token, who sees of other projects nothing; ``NOBODY`` needs none.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tiffin.registry.access import Role

NOBODY: Final = 0
CALLER: Final = 0.5
READER: Final = Role.READER
WRITER: Final = Role.WRITER
ADMIN: Final = Role.ADMIN
EVERY: Final = 4

_ENTITY: Final = {"kind": "Entity", "spec": {"name": "car", "valueType": "INT64"}}
_JOB: Final = {"type": "BATCH_INGESTION", "project": "rides", "tables": ["trips"], "status": "STARTING"}
_SAID: Final = {"id": "job1", "status": "COMPLETED", "progress": {}}
_ROWS: Final = {"driver_id": [7], "fare": [1.5], "event_timestamp": ["2026-01-01T00:00:00"]}
_WINDOW: Final = {"start_ts": "2026-01-01T00:00:00", "end_ts": "2026-01-02T00:00:00"}
_FENCE: Final = {"lease": "control/rides", "owner": "me"}
_NEW: Final = _JOB | {"id": "job3", "start": 1, "heartbeat": 1, "spec_hash": "ab"}
_SCHEDULE: Final = {"project": "rides", "table": "trips", "cron": "0 * * * *", "timespan": None, "due": 1}
_RUN: Final = {"schedule": _SCHEDULE | {"created": 1, "created_by": "me"}, "first": 1, "due": 1, "following": 2}
_PROJECT: Final = "/api/v1/projects/{project:str}"


class Call(NamedTuple):
    """A request, and the least role of whoever is answered. ``{id}`` in a path is a token that may be revoked."""

    least: float
    path: str
    json: Any = None
    query: dict[str, str] = {}


def _objects(kind: str, name: str) -> dict[tuple[str, str], Call]:
    place, here = f"{_PROJECT}/{kind}", f"/api/v1/projects/rides/{kind}"
    return {
        ("GET", place): Call(READER, here),
        ("GET", f"{place}/{{name:str}}"): Call(READER, f"{here}/{name}"),
        ("GET", f"{place}/{{name:str}}/history"): Call(READER, f"{here}/{name}/history"),
        ("GET", f"{place}/{{name:str}}/diff"): Call(READER, f"{here}/{name}/diff", query={"a": "1", "b": "1"}),
        ("DELETE", f"{place}/{{name:str}}"): Call(WRITER, f"{here}/{name}"),
        ("POST", f"{place}/{{name:str}}/rollback"): Call(WRITER, f"{here}/{name}/rollback", {"revision": 1}),
    }


#: By method and the template of the path.
CORE: Final[dict[tuple[str, str], Call]] = {
    ("GET", "/health"): Call(NOBODY, "/health"),
    ("HEAD", "/health"): Call(NOBODY, "/health"),
    ("GET", "/ready"): Call(NOBODY, "/ready"),
    ("HEAD", "/ready"): Call(NOBODY, "/ready"),
    ("GET", "/metrics"): Call(NOBODY, "/metrics"),
    ("GET", "/schema"): Call(NOBODY, "/schema"),
    ("GET", "/schema/openapi.json"): Call(NOBODY, "/schema/openapi.json"),
    ("GET", "/api/v1/whoami"): Call(CALLER, "/api/v1/whoami"),
    ("GET", "/api/v1/version"): Call(CALLER, "/api/v1/version"),
    ("GET", "/api/v1/contents"): Call(CALLER, "/api/v1/contents"),
    ("GET", "/api/v1/dump"): Call(EVERY, "/api/v1/dump"),
    ("GET", "/api/v1/search"): Call(READER, "/api/v1/search", query={"text": "zebra", "project": "rides"}),
    ("GET", "/api/v1/projects"): Call(CALLER, "/api/v1/projects"),
    ("POST", "/api/v1/projects"): Call(EVERY, "/api/v1/projects", {"name": "fresh"}),
    ("POST", f"{_PROJECT}/archive"): Call(ADMIN, "/api/v1/projects/rides/archive", {}),
    ("POST", f"{_PROJECT}/plan"): Call(READER, "/api/v1/projects/rides/plan", {"objects": [_ENTITY]}),
    ("POST", f"{_PROJECT}/apply"): Call(WRITER, "/api/v1/projects/rides/apply", {"objects": [_ENTITY]}),
    ("GET", f"{_PROJECT}/features"): Call(READER, "/api/v1/projects/rides/features"),
    **_objects("entities", "driver_id"),
    **_objects("feature-tables", "trips"),
    **_objects("feature-services", "model"),
    ("GET", "/api/v1/jobs"): Call(READER, "/api/v1/jobs", query={"project": "rides"}),
    ("POST", "/api/v1/jobs"): Call(WRITER, "/api/v1/jobs", _JOB | {"id": "job2", "start": 1, "heartbeat": 1}),
    ("GET", "/api/v1/jobs/{job_id:str}"): Call(READER, "/api/v1/jobs/job1"),
    ("GET", "/api/v1/jobs/{job_id:str}/log"): Call(READER, "/api/v1/jobs/job1/log"),
    ("POST", "/api/v1/jobs/{job_id:str}/cancel"): Call(WRITER, "/api/v1/jobs/job1/cancel"),
    ("POST", "/api/v1/jobs/{job_id:str}/fail"): Call(
        WRITER, "/api/v1/jobs/job1/fail", {"heartbeat": 1, "reason": "gone"}
    ),
    ("POST", "/api/v1/jobs/{job_id:str}/finish"): Call(
        WRITER, "/api/v1/jobs/job1/finish", {"report": _SAID, "outcome": {}}
    ),
    ("PUT", "/api/v1/jobs/{job_id:str}/output"): Call(WRITER, "/api/v1/jobs/job1/output", {"uri": "file:///x"}),
    ("POST", "/api/v1/jobs/reports"): Call(WRITER, "/api/v1/jobs/reports", {"reports": [_SAID]}),
    ("GET", "/api/v1/schedules"): Call(READER, "/api/v1/schedules", query={"project": "rides"}),
    ("PUT", f"{_PROJECT}/schedules/{{name:str}}"): Call(
        WRITER, "/api/v1/projects/rides/schedules/trips", {"cron": "0 * * * *"}
    ),
    ("DELETE", f"{_PROJECT}/schedules/{{name:str}}"): Call(WRITER, "/api/v1/projects/rides/schedules/trips"),
    ("POST", "/api/v1/control/managed"): Call(CALLER, "/api/v1/control/managed", {"hashes": []}),
    ("POST", "/api/v1/control/start"): Call(WRITER, "/api/v1/control/start", {"job": _NEW, "fence": _FENCE}),
    ("POST", "/api/v1/control/stop"): Call(WRITER, "/api/v1/control/stop", {"id": "job1", "fence": _FENCE}),
    ("POST", "/api/v1/control/run"): Call(
        WRITER, "/api/v1/control/run", {"run": _RUN | {"attempt": 1}, "job": _NEW, "fence": _FENCE}
    ),
    ("POST", "/api/v1/control/adopt"): Call(WRITER, "/api/v1/control/adopt", {"job": _NEW | {"id": "job1"}}),
    ("POST", "/api/v1/control/prune"): Call(EVERY, "/api/v1/control/prune", {"jobs_before": 1}),
    ("GET", "/api/v1/leases"): Call(CALLER, "/api/v1/leases"),
    ("POST", "/api/v1/leases/take"): Call(
        WRITER, "/api/v1/leases/take", {"name": "repair/rides/trips", "owner": "me", "seconds": 1}
    ),
    ("POST", "/api/v1/leases/release"): Call(
        WRITER, "/api/v1/leases/release", {"name": "repair/rides/trips", "owner": "me"}
    ),
    ("GET", "/api/v1/erasures"): Call(ADMIN, "/api/v1/erasures", query={"project": "rides"}),
    ("GET", "/api/v1/erasures/keys"): Call(CALLER, "/api/v1/erasures/keys"),
    ("POST", "/api/v1/projects/{project:str}/erasures/salt"): Call(ADMIN, "/api/v1/projects/rides/erasures/salt"),
    ("POST", "/api/v1/projects/{project:str}/erasures"): Call(
        ADMIN, "/api/v1/projects/rides/erasures", {"entity": "driver_id", "digests": ["0" * 32]}
    ),
    ("PUT", "/api/v1/projects/{project:str}/erasures/{erasure_id:str}"): Call(
        ADMIN, "/api/v1/projects/rides/erasures/ab12", {"state": "DONE", "report": {}}
    ),
    ("GET", "/api/v1/access"): Call(EVERY, "/api/v1/access"),
    ("GET", "/api/v1/tokens"): Call(ADMIN, "/api/v1/tokens"),
    ("POST", "/api/v1/tokens"): Call(ADMIN, "/api/v1/tokens", {"name": "new", "roles": {"rides": "reader"}}),
    ("DELETE", "/api/v1/tokens/{token_id:str}"): Call(ADMIN, "/api/v1/tokens/{id}"),
    ("GET", "/api/v1/audit"): Call(ADMIN, "/api/v1/audit", query={"project": "rides"}),
    ("POST", "/api/v1/audit"): Call(EVERY, "/api/v1/audit", {"events": []}),
}

ONLINE: Final[dict[tuple[str, str], Call]] = {
    ("POST", "/v1/features/online"): Call(
        READER, "/v1/features/online", {"project": "rides", "features": ["trips:fare"], "entities": {"driver_id": [1]}}
    ),
    ("POST", "/get-online-features"): Call(
        READER, "/get-online-features", {"features": ["trips:fare"], "entities": {"driver_id": [1]}}
    ),
    ("POST", "/v1/push"): Call(WRITER, "/v1/push", query={"project": "rides", "table": "trips"}),
    ("POST", "/push"): Call(WRITER, "/push", {"push_source_name": "trips", "df": _ROWS}),
    ("POST", "/write-to-online-store"): Call(
        WRITER, "/write-to-online-store", {"feature_view_name": "trips", "df": _ROWS}
    ),
    ("POST", "/materialize"): Call(WRITER, "/materialize", _WINDOW),
    ("POST", "/materialize-incremental"): Call(WRITER, "/materialize-incremental", {"end_ts": "2026-01-02T00:00:00"}),
    ("GET", "/health"): Call(NOBODY, "/health"),
    ("GET", "/ready"): Call(NOBODY, "/ready"),
    ("GET", "/metrics"): Call(NOBODY, "/metrics"),
}
