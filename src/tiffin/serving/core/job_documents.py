"""What running jobs say of themselves to the registry service, as it travels; instants are UTC microseconds."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tiffin.jobs.record import JobStatus, JobType
from tiffin.serving.core.routes import GREATEST, PLAIN

Count = Annotated[int, msgspec.Meta(ge=0, le=GREATEST)]
Short = Annotated[str, msgspec.Meta(max_length=255, pattern=PLAIN)]
Long = Annotated[str, msgspec.Meta(max_length=1_000_000, pattern=PLAIN)]
Identity = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class NewJob(msgspec.Struct):
    """A job that is about to start."""

    id: Identity
    type: JobType
    project: Short
    tables: Annotated[list[Short], msgspec.Meta(max_length=100_000)]
    status: JobStatus
    start: Count
    heartbeat: Count
    host: Short = ""
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    output: Long = ""
    spec_hash: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")] = ""
    attempt: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class Amount(msgspec.Struct):
    """How far a job is; ``total`` is null while nobody knows it, ``lag`` in seconds where it follows a stream."""

    done: Count = 0
    total: Count | None = None
    unit: Short = "rows"
    lag: float | None = None


class Rows(msgspec.Struct):
    """What a job did, in rows."""

    written: Count = 0
    skipped: Count = 0
    rejected: Count = 0


class Line(msgspec.Struct):
    """A line of a log and its instant, in UTC microseconds."""

    at: Count
    line: Long


class Said(msgspec.Struct):
    """What a running job says. ``again``: it may have been said before, so known lines are not written twice."""

    id: Identity
    status: JobStatus
    progress: Amount
    rows: Rows = msgspec.field(default_factory=Rows)
    lines: list[Line] = []
    again: bool = False


class Reports(msgspec.Struct):
    """What the jobs of one process say."""

    reports: list[Said]


class Stopped(msgspec.Struct):
    """The jobs that should stop."""

    cancelled: list[str]


class End(msgspec.Struct):
    """How a job ended."""

    report: Said
    outcome: Rows
    error: Long = ""


class Failure(msgspec.Struct):
    """Why a job counts as failed, unless it gave a sign of life after ``heartbeat``."""

    heartbeat: Count
    reason: Long


class Output(msgspec.Struct):
    """Where a job's rows were written."""

    uri: Long
