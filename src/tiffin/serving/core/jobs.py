"""The routes of jobs: what a team runs, wherever it runs it, and the record that running jobs keep of themselves.

A retrieval reads, so a reader may run and record it; every other job needs a writer.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from tiffin.errors import AlreadyExists, ConcurrentChange, InvalidArgument, NotFound
from tiffin.jobs.ledger import Report
from tiffin.jobs.record import JobRecord, JobType, Outcome, Progress
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.job_documents import End, Failure, Line, NewJob, Output, Reports, Rows, Said, Stopped
from tiffin.serving.core.page import USUAL, Cursor, Limit, Page, bad_cursor, cut, place_of
from tiffin.serving.core.routes import GREATEST, PLAIN, Caller, Here, answers
from tiffin.serving.core.state import Core

JobId = Annotated[str, PathParameter(max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="A job.")]
Where = Annotated[
    str | None,
    QueryParameter(max_length=255, pattern=PLAIN, description="One project; all that the caller may read if left out."),
]
Table = Annotated[str | None, QueryParameter(max_length=255, pattern=PLAIN, description="Jobs of this table.")]


class Jobs(Controller):
    """Jobs of all processes."""

    path = "/jobs"
    tags = ["jobs"]

    @answers("GET", "/", Rule(Role.READER, "list jobs", "handler"))
    def list_jobs(
        self,
        core: Here,
        caller: Caller,
        project: Where = None,
        table: Table = None,
        include_terminated: FromQuery[bool] = False,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Page[JobRecord]:
        """The jobs of the projects that the caller may read, the newest first."""
        if project is not None:
            core.gate.require(caller, project, Role.READER, action="list jobs")
        found = core.jobs.page(
            limit + 1,  # so that it is known whether another page follows
            after=None if cursor is None else _after(cursor),
            include_terminated=include_terminated,
            table=table,
            projects=_readable_projects(caller) if project is None else [project],
        )
        return cut(found, lambda each: (each.start, each.id), limit)

    @answers("GET", "/{job_id:str}", Rule(Role.READER, "get job", "handler"))
    def get_job(self, core: Here, caller: Caller, job_id: JobId) -> JobRecord:
        """One job."""
        return _readable(core, caller, job_id, "get job")

    @answers("GET", "/{job_id:str}/log", Rule(Role.READER, "job log", "handler"))
    def get_log(self, core: Here, caller: Caller, job_id: JobId) -> list[Line]:
        """The lines that a job has logged."""
        _readable(core, caller, job_id, "job log")
        return [Line(at, line) for at, line in core.jobs.log(job_id)]

    @answers("POST", "/", Rule(Role.READER, "add job", "handler"), status=201)
    def add_job(self, core: Here, caller: Caller, data: JSONBody[NewJob]) -> JobRecord:
        """Record a job that is about to start; the same a second time changes nothing."""
        core.gate.require(caller, data.project, _role(data.type), action="add job")
        core.snapshot().project(data.project)
        if data.status.is_final:
            raise InvalidArgument(
                "A job that has ended cannot be added.", field="status", hint="Add it as STARTING or IN_PROGRESS."
            )
        core.gate.record(caller, data.project, "add job", f"{data.type.name} of {', '.join(data.tables)}")
        record = JobRecord(**msgspec.structs.asdict(data) | {"tables": tuple(data.tables)})
        try:
            core.jobs.add(record)
        except ConcurrentChange:
            if core.jobs.get(record.id) != record:
                raise AlreadyExists(
                    f"There is another job {record.id!r} already.", field="id", hint="Choose another id."
                ) from None
        return record

    @answers("POST", "/reports", Rule(Role.READER, "report jobs", "handler"))
    def report(self, core: Here, caller: Caller, data: JSONBody[Reports]) -> Stopped:
        """Record what running jobs say and that they are alive. Unknown ones are passed over."""
        reports = []
        for said in data.reports:
            try:
                record = _changeable(core, caller, said.id, "report jobs")
            except NotFound:
                continue
            reports.append(_report(core, record, said))
        return Stopped(sorted(core.jobs.report(reports)))

    @answers("POST", "/{job_id:str}/finish", Rule(Role.READER, "finish job", "handler"))
    def finish(self, core: Here, caller: Caller, job_id: JobId, data: JSONBody[End]) -> JobRecord:
        """Record how a job ended. The process that ran it has the last word, whatever others took it for."""
        record = _changeable(core, caller, job_id, "finish job")
        if not data.report.status.is_final or data.report.id != job_id:
            raise InvalidArgument(
                f"The report is of job {data.report.id!r} as {data.report.status.name}, the path of job {job_id!r}.",
                field="report",
                hint="Report of the job in the path, as COMPLETED, FAILED or CANCELLED.",
            )
        core.jobs.finish(_report(core, record, data.report), _outcome(data.outcome), data.error)
        return core.jobs.get(job_id)

    @answers("POST", "/{job_id:str}/fail", Rule(Role.READER, "fail job", "handler"))
    def fail(self, core: Here, caller: Caller, job_id: JobId, data: JSONBody[Failure]) -> JobRecord:
        """Record a job whose process is gone as failed."""
        record = _changeable(core, caller, job_id, "fail job")
        seen = msgspec.structs.replace(record, heartbeat=data.heartbeat)
        return core.jobs.fail(seen, data.reason)

    @answers("POST", "/{job_id:str}/cancel", Rule(Role.READER, "cancel job", "handler"))
    def cancel(self, core: Here, caller: Caller, job_id: JobId) -> JobRecord:
        """Ask whoever runs a job to stop it, which it does between two batches; nothing if it has ended."""
        record = _changeable(core, caller, job_id, "cancel job")
        core.gate.record(caller, record.project, "cancel job", job_id)
        core.jobs.request_cancel(job_id)
        return core.jobs.get(job_id)

    @answers("PUT", "/{job_id:str}/output", Rule(Role.READER, "job output", "handler"))
    def set_output(self, core: Here, caller: Caller, job_id: JobId, data: JSONBody[Output]) -> JobRecord:
        """Record where a job's rows were written."""
        _changeable(core, caller, job_id, "job output")
        core.jobs.set_output(job_id, data.uri)
        return core.jobs.get(job_id)


def _role(kind: JobType) -> Role:
    """The role that a job of this type needs from whoever runs or changes it."""
    return Role.READER if kind is JobType.HISTORICAL_RETRIEVAL else Role.WRITER


def _readable_projects(caller: Principal) -> list[str] | None:
    """Those that a caller is a reader of; None for every one."""
    if caller.allows(EVERY_PROJECT, Role.READER):
        return None
    return [name for name in caller.roles if caller.allows(name, Role.READER)]


def _after(cursor: str) -> tuple[int, str]:
    start, job_id = place_of(cursor, tuple[int, str])
    if not 0 <= start <= GREATEST or "\x00" in job_id:  # what no database could compare
        raise bad_cursor()
    return start, job_id


def _readable(core: Core, caller: Principal, job_id: str, action: str) -> JobRecord:
    record = core.jobs.get(job_id)
    core.gate.require(caller, record.project, Role.READER, action=action)
    return record


def _changeable(core: Core, caller: Principal, job_id: str, action: str) -> JobRecord:
    record = core.jobs.get(job_id)
    core.gate.require(caller, record.project, _role(record.type), action=action)
    return record


def _report(core: Core, record: JobRecord, said: Said) -> Report:
    known = set(core.jobs.log(record.id)) if said.again and said.lines else set()
    lines = [(each.at, each.line) for each in said.lines if (each.at, each.line) not in known]
    progress = Progress(said.progress.done, said.progress.total, said.progress.unit, said.progress.lag)
    return Report(record, said.status, progress, lines, _outcome(said.rows))


def _outcome(rows: Rows) -> Outcome:
    return Outcome(rows.written, rows.skipped, rows.rejected)
