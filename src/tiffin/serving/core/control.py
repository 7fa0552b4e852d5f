"""The routes of controllers: what they claim and record under the lease that they hold, and schedules.

Whoever starts or stops a job must be a writer in its project; the lease of the fence is one that only such may take.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller
from litestar.params import JSONBody, QueryParameter

from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import InvalidArgument
from tiffin.jobs.claims import Fence
from tiffin.jobs.decide import Run
from tiffin.jobs.record import JobRecord, Pruned
from tiffin.jobs.schedule import Schedule, new_schedule
from tiffin.registry.access import EVERY_PROJECT, Role
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.definitions import By
from tiffin.serving.core.job_documents import Count, Identity, NewJob, Short
from tiffin.serving.core.leases import Name, Owner
from tiffin.serving.core.routes import PLAIN, Caller, Here, InPath, answers

Hash = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f]+$")]
Cron = Annotated[str, msgspec.Meta(max_length=255, pattern=PLAIN)]
Length = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Where = Annotated[
    str | None,
    QueryParameter(max_length=255, pattern=PLAIN, description="One project; all that the caller may read if left out."),
]


class FenceDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The lease under which a controller acts."""

    lease: Name
    owner: Owner

    @property
    def fence(self) -> Fence:
        """The same as Tiffin's own."""
        return Fence(self.lease, self.owner)


class Hashes(msgspec.Struct, forbid_unknown_fields=True):
    """Definitions of jobs."""

    hashes: Annotated[list[Hash], msgspec.Meta(max_length=100_000)]


class StartDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A job that a controller is about to start."""

    job: NewJob
    fence: FenceDocument


class StopDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A job whose end a controller asks for."""

    id: Identity
    fence: FenceDocument


class ScheduleDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule as a controller has read it."""

    project: Short
    table: Short
    cron: Cron
    timespan: Length | None
    due: Count
    created: Count
    created_by: Short
    run_from: Count | None = None
    run_due: Count | None = None
    run_job: Identity | None = None


class RunDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A run of a schedule, for all that became due from ``first`` to ``due``."""

    schedule: ScheduleDocument
    first: Count
    due: Count
    following: Count
    attempt: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class ClaimDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A run that a controller claims for a job."""

    run: RunDocument
    job: NewJob
    fence: FenceDocument


class AdoptDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A job that was recorded, and the process that runs it."""

    job: NewJob


class NewSchedule(msgspec.Struct, forbid_unknown_fields=True):
    """When a table is materialised; ``timespan`` in microseconds, null for what was committed since the last run."""

    cron: Cron
    timespan: Length | None = None
    by: By = ""


class Before(msgspec.Struct, forbid_unknown_fields=True):
    """Instants in UTC microseconds; null leaves all."""

    jobs_before: Count | None = None
    audit_before: Count | None = None


class Done(msgspec.Struct):
    """Whether it was recorded."""

    done: bool


class Control(Controller):
    """What controllers claim and record."""

    path = "/control"
    tags = ["jobs"]

    @answers("POST", "/managed", Rule(Role.READER, "list jobs", "handler"))
    def managed(self, core: Here, caller: Caller, data: JSONBody[Hashes]) -> list[JobRecord]:
        """The jobs of controllers that go on, and the newest ended one of each hash, of what the caller may read."""
        found = core.jobs.claims.managed(data.hashes)
        return [each for each in found if caller.allows(each.project, Role.READER)]

    @answers("POST", "/start", Rule(Role.WRITER, "start job", "handler"))
    def start(self, core: Here, caller: Caller, data: JSONBody[StartDocument]) -> Done:
        """Record a job that is about to start, under the controller's lease."""
        record = _new(core, caller, data.job, "start job")
        return Done(core.jobs.claims.start(record, data.fence.fence))

    @answers("POST", "/stop", Rule(Role.WRITER, "stop job", "handler"))
    def stop(self, core: Here, caller: Caller, data: JSONBody[StopDocument]) -> Done:
        """Ask for the end of a job, under the controller's lease."""
        record = core.jobs.get(data.id)
        core.gate.require(caller, record.project, Role.WRITER, action="stop job")
        return Done(core.jobs.claims.stop(data.id, data.fence.fence))

    @answers("POST", "/run", Rule(Role.WRITER, "run schedule", "handler"))
    def run(self, core: Here, caller: Caller, data: JSONBody[ClaimDocument]) -> Done:
        """Claim a run of a schedule; the clock of the database says whether it is due."""
        record = _new(core, caller, data.job, "run schedule")
        schedule = Schedule(**msgspec.structs.asdict(data.run.schedule))
        if (schedule.project, (schedule.table,)) != (record.project, record.tables):
            raise InvalidArgument(
                "The job is not of the table of its schedule.", field="job", hint="Name the same project and table."
            )
        run = Run(schedule, data.run.first, data.run.due, data.run.following, data.run.attempt)
        return Done(core.jobs.claims.run(run, record, data.fence.fence))

    @answers("POST", "/adopt", Rule(Role.WRITER, "adopt job", "handler"))
    def adopt(self, core: Here, caller: Caller, data: JSONBody[AdoptDocument]) -> Done:
        """Make a process the one that runs a job which was recorded as about to start."""
        found = core.jobs.get(data.job.id)
        core.gate.require(caller, found.project, Role.WRITER, action="adopt job")
        return Done(core.jobs.claims.adopt(_record(data.job)))

    @answers("POST", "/prune", Rule(Role.ADMIN, "prune", "every"))
    def prune(self, core: Here, caller: Caller, data: JSONBody[Before]) -> Pruned:
        """Delete jobs and events of the audit log that ended before these instants."""
        core.gate.record(caller, EVERY_PROJECT, "prune", f"jobs before {data.jobs_before}, audit {data.audit_before}")
        return core.jobs.prune(data.jobs_before, data.audit_before)


class ScheduleRoutes(Controller):
    """Tables that are materialised again and again."""

    tags = ["jobs"]

    @answers("GET", "/schedules", Rule(Role.READER, "list schedules", "handler"))
    def list_schedules(self, core: Here, caller: Caller, project: Where = None) -> list[Schedule]:
        """The schedules of the projects that the caller may read."""
        if project is not None:
            core.gate.require(caller, project, Role.READER, action="list schedules")
        return [each for each in core.jobs.schedules.all(project) if caller.allows(each.project, Role.READER)]

    @answers("PUT", "/projects/{project:str}/schedules/{name:str}", Rule(Role.WRITER, "schedule table"))
    def put(self, core: Here, caller: Caller, project: InPath, name: InPath, data: JSONBody[NewSchedule]) -> Schedule:
        """Materialise a table at the times of a cron expression, in UTC, in place of what was scheduled before."""
        core.snapshot().peek(FeatureTable, name, project)
        span = None if data.timespan is None else data.timespan / 1_000_000
        schedule = new_schedule(project, name, data.cron, span, by=core.author(caller, data.by))
        core.gate.record(caller, project, "schedule table", f"{name} at {schedule.cron}")
        core.jobs.schedules.put(schedule)
        return schedule

    @answers("DELETE", "/projects/{project:str}/schedules/{name:str}", Rule(Role.WRITER, "unschedule table"))
    def remove(self, core: Here, caller: Caller, project: InPath, name: InPath) -> Done:
        """Materialise a table no longer; nothing where it is not scheduled."""
        core.gate.record(caller, project, "unschedule table", name)
        core.jobs.schedules.remove(project, name)
        return Done(done=True)


def _new(core: Here, caller: Caller, job: NewJob, action: str) -> JobRecord:
    """A job that a caller may start."""
    core.gate.require(caller, job.project, Role.WRITER, action=action)
    core.snapshot().project(job.project)
    if job.status.is_final or not job.spec_hash:
        raise InvalidArgument(
            "A controller's job is STARTING and has the hash of its definition.", field="job", hint="Tell both."
        )
    core.gate.record(caller, job.project, action, f"{job.type.name} of {', '.join(job.tables)}")
    return _record(job)


def _record(job: NewJob) -> JobRecord:
    return JobRecord(**msgspec.structs.asdict(job) | {"tables": tuple(job.tables)})
