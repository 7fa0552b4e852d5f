"""What is known of a job, as plain data: the same in the process that runs it and in any other."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterable

import msgspec

from tiffin import clock


class JobStatus(enum.Enum):
    """The states of a job (semantics, section 7). The last three are final."""

    STARTING = "STARTING"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self in _FINAL


_FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class JobType(enum.Enum):
    """What a job does."""

    HISTORICAL_RETRIEVAL = "HISTORICAL_RETRIEVAL"
    BATCH_INGESTION = "BATCH_INGESTION"
    STREAM_INGESTION = "STREAM_INGESTION"

    @property
    def word(self) -> str:
        """The same for people. The names are Feast's: rows are ingested into the online store."""
        return _WORDS[self]


_WORDS = {
    JobType.HISTORICAL_RETRIEVAL: "retrieval",
    JobType.BATCH_INGESTION: "materialisation",
    JobType.STREAM_INGESTION: "stream ingestion",
}


class Outcome(msgspec.Struct, frozen=True):
    """What a job did, in rows."""

    written: int = 0
    skipped: int = 0
    rejected: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.written + other.written, self.skipped + other.skipped, self.rejected + other.rejected)


class Progress(msgspec.Struct, frozen=True):
    """``done`` of ``total`` units; ``total`` is None while nobody knows it.

    ``lag`` is how many seconds a stream is behind its source, None where there is no such thing.
    """

    done: int = 0
    total: int | None = None
    unit: str = "rows"
    lag: float | None = None


class Pruned(msgspec.Struct, frozen=True):
    """How many ended jobs and events of the audit log were deleted."""

    jobs: int = 0
    events: int = 0


class JobRecord(msgspec.Struct, frozen=True):
    """One job. Instants are UTC microseconds; ``end`` is None until it has ended.

    ``tables`` are the names of the feature tables it reads or writes. ``output`` is the URI of the folder its rows
    went to, empty where there is none. ``host`` and ``pid`` tell which process runs it, and ``heartbeat`` when that
    process last said so. ``spec_hash`` tells jobs of one definition, where a controller runs them; ``attempt`` counts
    the times in a row that it had to start one; ``cancelling``: somebody asked for its end.
    """

    id: str
    type: JobType
    project: str
    tables: tuple[str, ...]
    status: JobStatus
    start: int
    end: int | None = None
    outcome: Outcome = Outcome()
    progress: Progress = Progress()
    error: str = ""
    output: str = ""
    host: str = ""
    pid: int = 0
    heartbeat: int = 0
    spec_hash: str = ""
    attempt: int = 0
    cancelling: bool = False

    @property
    def title(self) -> str:
        """The job in words, for messages."""
        return f"The {self.type.word} of {', '.join(self.tables) or 'no table'} (job {self.id})"


def new_record(
    kind: JobType, project: str, tables: Iterable[str], *, spec_hash: str = "", attempt: int = 0
) -> JobRecord:
    """The record of a job that nobody runs yet."""
    job_id = uuid.uuid4().hex[:12]
    started = clock.now()
    return JobRecord(
        job_id, kind, project, tuple(tables), JobStatus.STARTING, started, spec_hash=spec_hash, attempt=attempt
    )
