"""ingest: one batch of rows into a table's batch source, all of it or nothing (semantics, section 5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
from deltalake import DeltaTable

from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import ROW_COLUMN, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidArgument, Unsupported
from tiffin.ingest.deadletter import folder_of, setting_aside
from tiffin.ingest.digest import digest, with_refused
from tiffin.ingest.erased import NOBODY, ErasedKeys, Guard
from tiffin.ingest.input import frames_of
from tiffin.ingest.metrics import UNMEASURED, IngestionMetrics
from tiffin.ingest.sift import OnInvalid, Sifted, sifted
from tiffin.ingest.validate import Validator
from tiffin.offline.commit_log import DEAD_LETTERS, PUSH, append, applied
from tiffin.offline.delta import check_name, holding, open_table
from tiffin.offline.location import is_glob, is_remote, normalise
from tiffin.offline.parts import Batch
from tiffin.offline.target import partition_names

Deliver = Callable[[Commit, Iterator[pl.DataFrame]], None]
"""What takes a commit that was just made, and its rows in stored columns, in the order in which they lie there."""
_ON_INVALID: Final = ("reject", "quarantine")


def ingest(
    table: TableSchema,
    source: Any,
    *,
    idempotency_key: str | None = None,
    on_invalid: OnInvalid = "reject",
    dead_letters: str,
    staging: str,
    latest: int | None = None,
    deliver: Deliver | None = None,
    erased: ErasedKeys = NOBODY,
    metrics: IngestionMetrics = UNMEASURED,
    held: dict[str, DeltaTable] | None = None,
    control: Control = UNWATCHED,
) -> Commit:
    """Append a batch to a table's batch source, in one commit.

    ``source`` is a pandas, Polars or Arrow frame, an iterator of Arrow batches, or a path, glob or URI of Parquet, CSV
    or JSON lines; any size passes through in bounded memory, with ``staging`` as the local scratch folder. Undeclared
    columns are dropped. With ``on_invalid="quarantine"`` invalid rows go below ``dead_letters`` with their reason and
    the rest proceeds; else InvalidData carries the first of them and nothing is stored. A batch without a valid row
    makes no commit. An ``idempotency_key`` is unique in the table: the same content under it is stored once, other
    content is a Conflict. Rows with an event time after ``latest`` (UTC microseconds) are invalid. ``deliver`` is
    going to write the rows of the commit to the online store, which the commit notes, so that recovery does where that
    is cut off. ``held`` are tables that the caller has open, and does not use at the version they are at any more.
    """
    uri = target_of(table)
    check_options(idempotency_key, on_invalid)
    with holding({} if held is None else held):
        target = open_table(uri)
    validator = Validator(table, keep=partition_names(uri, target), latest=latest)
    frames = frames_of(source, table)
    with sifted(validator, frames, on_invalid=on_invalid, staging=staging, metrics=metrics, control=control) as rows:
        notes: dict[str, str | int] = {} if deliver is None else {PUSH: 1}
        guard = Guard(table, erased)
        commit = _store(uri, target, validator, rows, guard, idempotency_key or "", dead_letters, notes, control)
        if not commit.already_applied:
            metrics.written(table, commit.rows, store="offline")
            metrics.dead_lettered(table, commit.rejected)
            metrics.erased(table, commit.erased)
        if deliver is not None and commit.version >= 0 and not commit.already_applied:
            deliver(commit, guard.stored(rows.frames()))
    return commit


def check_options(idempotency_key: object, on_invalid: object) -> None:
    """Raise InvalidArgument for a key that is no text, and for a fate of invalid rows that there is not."""
    if on_invalid not in _ON_INVALID:
        raise InvalidArgument(
            f"on_invalid must be 'reject' or 'quarantine', got {on_invalid!r}.", field="on_invalid", hint="Choose one."
        )
    if idempotency_key is not None and not _is_text(idempotency_key):
        raise InvalidArgument(
            f"An idempotency_key must be a Unicode text that is not empty, got {idempotency_key!r}.",
            field="idempotency_key",
            hint="Give a name of the batch, such as that of its file.",
        )


def _is_text(value: object) -> bool:
    """Whether a value is a text with something in it, and without the lone surrogates that no bytes stand for."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= character <= "\udfff" for character in value)


def _store(
    uri: str,
    target: DeltaTable | None,
    validator: Validator,
    rows: Sifted,
    guard: Guard,
    key: str,
    dead_letters: str,
    notes: dict[str, str | int],
    control: Control,
) -> Commit:
    """Commit the good rows, the bad ones safe before them."""
    table = validator.table
    bad = rows.bad
    batch = Batch(
        frames=lambda: guard.stored(rows.frames()),
        columns=rows.columns,
        declared=validator.declared,
        indexed=validator.indexed,
        event=table.event_column,
        partition=table.partition_column,
        admit=guard.admit,
    )
    content = _content(rows) if key else 0
    # Other content under the key is a batch of its own, which must not touch the dead letters of the first.
    name = f"{blake2b(key.encode(), digest_size=16).hexdigest()}-{content:016x}" if key else uuid.uuid4().hex
    folder = folder_of(dead_letters, project=table.project, table=table.name, batch=name) if bad.rows else ""
    commit = Commit(
        table.project, table.name, -1, 0, bad.rows, folder, idempotency_key=key, first_rejected=tuple(rows.first_bad)
    )
    done = applied(uri, key, content, target)
    if done is None:
        with setting_aside(folder, bad, uri, -1 if target is None else target.version(), keep=guard.letters):
            if not rows.rows:
                return commit
            if bad.rows:
                notes = {**notes, DEAD_LETTERS: name}
            done = append(uri, batch, key=key, digest=content, notes=notes, table=target, control=control)
    return msgspec.structs.replace(
        commit,
        version=done.version,
        rows=done.rows,
        partitions=done.partitions,
        committed_at=done.ingested_at,
        already_applied=done.already,
        erased=0 if done.already else guard.dropped,
    )


def _content(rows: Sifted) -> int:
    """The hash of all that was given, erased or not: a batch that comes again is the same one."""
    content, bad = digest(rows.frames(), rows.columns), rows.bad
    return with_refused(content, (frame[ROW_COLUMN] for frame in bad.as_added())) if bad.rows else content


def target_of(table: TableSchema) -> str:
    """The folder that batches of a table go to; Unsupported or InvalidArgument where its source takes none."""
    source = table.source
    if not isinstance(source, FileSource):
        raise Unsupported(
            f"{table.label()} has a {type(source).__name__}, which cannot be ingested into.",
            field="batch_source",
            hint="Load its table with its own tools, or give the feature table a FileSource.",
        )
    if isinstance(source.file_format, DeltaFormat) and source.file_format.version is not None:
        raise Unsupported(
            f"{table.label()} is pinned to version {source.file_format.version} of its Delta table: a pinned source is "
            "only read.",
            field="batch_source",
            hint="Remove the version from DeltaFormat to write.",
        )
    uri = normalise(source.file_url)
    if is_glob(uri) or (not is_remote(uri) and Path(uri).is_file()):
        raise InvalidArgument(
            f"{table.label()} reads {source.file_url!r}, which is {'a pattern' if is_glob(uri) else 'a single file'}: "
            "batches go to folders.",
            field="file_url",
            hint="Let file_url name the folder, with or without a trailing '/*'.",
        )
    check_name(uri)
    return uri


__all__ = ["OnInvalid", "check_options", "ingest", "target_of"]
