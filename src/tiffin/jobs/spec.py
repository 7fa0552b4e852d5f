"""JobSpec: one job as plain data, so that another process, here or on another machine, can run it.

A spec holds no secrets: whoever runs it has its own, in its environment or its configuration file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from tiffin.errors import InvalidArgument, NotFound
from tiffin.jobs.record import JobType
from tiffin.options import option_named

#: What a job of a stream holds so that doubles stand by; the last part is its slot.
STREAM_LEASE: Final = "stream/{project}/{table}/{slot}"


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One job.

    ``type`` is BATCH_INGESTION or STREAM_INGESTION. The first writes the winners among rows with ``start <= event time
    < end``, in UTC microseconds; with neither it follows what was committed. The second reads a stream until it is
    stopped; of several jobs with one ``slot`` of a table, one works and the others stand by. ``id`` names a job that a
    controller has recorded already, and is empty where there is none. ``options`` are options of Tiffin.
    """

    type: JobType
    project: str
    tables: tuple[str, ...]
    start: int | None = None
    end: int | None = None
    slot: int | None = None
    id: str = ""
    options: dict[str, str] = {}

    @property
    def lease(self) -> str | None:
        """The lease under which it works, None where it may run beside others."""
        if self.type is not JobType.STREAM_INGESTION or self.slot is None:
            return None
        return STREAM_LEASE.format(project=self.project, table=self.tables[0], slot=self.slot)


def read_spec(text: str) -> JobSpec:
    """A spec written as JSON or YAML; InvalidArgument says what is wrong with it."""
    try:
        spec = msgspec.convert(yaml.safe_load(text), JobSpec)
    except yaml.YAMLError as error:
        raise _unreadable(f"is neither JSON nor YAML: {str(error).splitlines()[0]}") from None
    except msgspec.ValidationError as error:
        raise _unreadable(f"does not fit: {error}") from None
    _check(spec)
    return spec


def load_spec(path: Path) -> JobSpec:
    """The spec in a file."""
    try:
        return read_spec(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NotFound(f"The job {path} cannot be read: {reason}.", field="spec", hint="Name a file.") from None


def write_spec(spec: JobSpec) -> str:
    """A spec as JSON, which :func:`read_spec` reads back."""
    return msgspec.json.encode(spec).decode()


def hash_of(*parts: Any) -> str:
    """What tells jobs of one definition from others: equal for equal plain data, in whatever order its keys stand."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _check(spec: JobSpec) -> None:
    if spec.type is JobType.HISTORICAL_RETRIEVAL:
        raise _unreadable("is a retrieval, whose rows only its caller has")
    if not spec.tables:
        raise _unreadable("names no table")
    if spec.type is JobType.STREAM_INGESTION and len(spec.tables) != 1:
        raise _unreadable("is of a stream, which fills one table")
    for name in spec.options:
        if option_named(name).secret:
            raise _unreadable(f"holds the secret {name!r}, which belongs into the environment of its process")


def _unreadable(reason: str) -> InvalidArgument:
    return InvalidArgument(
        f"The job {reason}.",
        field="spec",
        hint='Write {"type": "BATCH_INGESTION", "project": "default", "tables": ["trips"]}, for example.',
    )
