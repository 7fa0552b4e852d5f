"""ingest: one batch of rows into a table's batch source, all of it or nothing (semantics, section 5)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl
from deltalake import DeltaTable

from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import ROW_COLUMN, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidArgument, Unsupported
from tiffin.ingest.deadletter import discard, folder_of, write_dead_letters
from tiffin.ingest.digest import digest, with_refused
from tiffin.ingest.input import frames_of
from tiffin.ingest.spool import Spool
from tiffin.ingest.text import Given
from tiffin.ingest.unique import repeated
from tiffin.ingest.validate import REASON, SHOWN, Validator, refusal, shown
from tiffin.offline.commit_log import append, applied
from tiffin.offline.delta import check_name, open_table
from tiffin.offline.location import is_glob, is_remote, normalise
from tiffin.offline.parts import Batch
from tiffin.offline.target import partition_names

OnInvalid = Literal["reject", "quarantine"]
_ON_INVALID: Final = ("reject", "quarantine")
#: The rows as given, carried beside the stored ones where a later look may refuse them.
_GIVEN: Final = "$given"
_REPEATED: Final = "an earlier row of the batch has the same key and event time"


def ingest(
    table: TableSchema,
    source: Any,
    *,
    idempotency_key: str | None = None,
    on_invalid: OnInvalid = "reject",
    dead_letters: str,
    staging: str,
    latest: int | None = None,
    control: Control = UNWATCHED,
) -> Commit:
    """Append a batch to a table's batch source, in one commit.

    ``source`` is a pandas, Polars or Arrow frame, an iterator of Arrow batches, or a path, glob or URI of Parquet, CSV
    or JSON lines; any size passes through in bounded memory, with ``staging`` as the local scratch folder. Undeclared
    columns are dropped. With ``on_invalid="quarantine"`` invalid rows go below ``dead_letters`` with their reason and
    the rest proceeds; else InvalidData carries the first of them and nothing is stored. A batch without a valid row
    makes no commit. An ``idempotency_key`` is unique in the table: the same content under it is stored once, other
    content is a Conflict. Rows with an event time after ``latest`` (UTC microseconds) are invalid.
    """
    uri = target_of(table)
    check_options(idempotency_key, on_invalid)
    target = open_table(uri)
    validator = Validator(table, keep=partition_names(uri, target), latest=latest)
    with Spool(staging) as good, Spool(staging) as bad, Spool(staging) as distinct:
        for given, first_row in _numbered(frames_of(source, table), control):
            _sort(validator, given, first_row, good, bad, on_invalid)
        repeats = validator.unique and _set_repeated_aside(validator, good, bad, distinct, on_invalid)
        kept = distinct if repeats else good
        return _store(uri, target, validator, kept, bad, idempotency_key or "", dead_letters, control)


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


def _numbered(frames: Iterator[Given], control: Control) -> Iterator[tuple[Given, int]]:
    """Frames with the position of their first row in the batch."""
    first_row = 0
    for given in frames:
        control.check()
        yield given, first_row
        first_row += given.frame.height
        control.progress(first_row, unit="rows read")


def _sort(validator: Validator, given: Given, first_row: int, good: Spool, bad: Spool, on_invalid: OnInvalid) -> None:
    """Put the rows of a frame where they belong; InvalidData where bad ones are rejected."""
    checked = validator.check(given, first_row)
    if checked.rejected and on_invalid == "reject":
        raise refusal(validator.table, checked.rejected, checked.bad.height)
    bad.add(checked.bad)
    rows = checked.good
    if validator.unique:
        place = pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64)
        placed = given.frame.with_columns(place.alias(ROW_COLUMN))
        rows = rows.with_columns(
            (placed if checked.passed is None else placed.filter(checked.passed)).to_struct(_GIVEN)
        )
    good.add(rows)


def _set_repeated_aside(validator: Validator, good: Spool, bad: Spool, distinct: Spool, on_invalid: OnInvalid) -> bool:
    """Part rows that repeat a key and time of the batch from those that do not; whether there were any."""
    positions = repeated(lambda: (validator.identity(frame) for frame in good.frames()), good.rows)
    first = 0
    for frame in good.frames() if len(positions) else ():
        twice = pl.int_range(first, first + frame.height, eager=True).is_in(positions.implode())
        first += frame.height
        given = frame.filter(twice)[_GIVEN].struct.unnest()
        if on_invalid == "reject" and twice.any():
            event = validator.table.event_column
            told = [
                {"row": row, "column": event, "reason": _REPEATED, "value": shown(given[event], n)}
                for n, row in enumerate(given[ROW_COLUMN].head(SHOWN))
            ]
            raise refusal(validator.table, told, len(positions))
        bad.add(given.select(pl.exclude(ROW_COLUMN), pl.lit(_REPEATED).alias(REASON), pl.col(ROW_COLUMN)))
        distinct.add(frame.filter(~twice))
    return len(positions) > 0


def _store(
    uri: str,
    target: DeltaTable | None,
    validator: Validator,
    good: Spool,
    bad: Spool,
    key: str,
    dead_letters: str,
    control: Control,
) -> Commit:
    """Commit the good rows, the bad ones safe before them."""
    table = validator.table
    columns = {name: dtype for name, dtype in good.columns.items() if name != _GIVEN}
    batch = Batch(
        frames=lambda: (frame.select(list(columns)) for frame in good.frames()),
        columns=columns,
        declared=validator.declared,
        indexed=validator.indexed,
        event=table.event_column,
        partition=table.partition_column,
    )
    content = _content(batch, bad) if key else 0
    # Other content under the key is a batch of its own, which must not touch the dead letters of the first.
    name = f"{blake2b(key.encode(), digest_size=16).hexdigest()}-{content:016x}" if key else uuid.uuid4().hex
    folder = folder_of(dead_letters, project=table.project, table=table.name, batch=name) if bad.rows else ""
    commit = Commit(table.project, table.name, -1, 0, bad.rows, folder, idempotency_key=key)
    done = applied(uri, key, content, target)
    if done is None:
        if bad.rows:
            write_dead_letters(folder, bad)
        if not good.rows:
            return commit
        stored = False
        try:
            done = append(uri, batch, key=key, digest=content, table=target, control=control)
            stored = True
        finally:
            if bad.rows and not stored:
                discard(folder)
    return msgspec.structs.replace(
        commit,
        version=done.version,
        rows=done.rows,
        partitions=done.partitions,
        committed_at=done.ingested_at,
        already_applied=done.already,
    )


def _content(batch: Batch, bad: Spool) -> int:
    """The hash of all that was given."""
    content = digest(batch.frames(), batch.columns)
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
