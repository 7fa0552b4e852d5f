"""The lake: which files hold the rows of a file source, at which version, and which of them are new.

A folder with a Delta log is read through it, whatever its declared format; without one it is read as it is. Files are
named by absolute paths, or URIs on buckets, and carry what prunes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec
import polars as pl

from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import INGESTED_AT_COLUMN
from tiffin.definitions.source import FileSource
from tiffin.errors import NotFound, Unsupported
from tiffin.offline.base import Position
from tiffin.offline.delta import check_process, delta_errors, open_table
from tiffin.offline.location import is_glob, is_remote, list_parquet, normalise

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: The key of a commit's metadata that holds when it was made, in UTC microseconds.
COMMITTED_AT: Final = "tiffin.committed_at"
#: That which holds how many rows it brought.
ROWS: Final = "tiffin.rows"

#: Statistics in a log may be cut to milliseconds, so that a maximum lies up to this much too low.
_CUT_US: Final = 999
#: Operations of a log that bring no rows.
_WITHOUT_ROWS: Final = frozenset(
    {"CREATE TABLE", "ADD COLUMN", "SET TBLPROPERTIES", "OPTIMIZE", "VACUUM START", "VACUUM END"}
)


class LakeFile(msgspec.Struct, frozen=True):
    """One Parquet file of a snapshot.

    ``path`` is absolute (a URI on buckets) and literal: it is never a pattern. ``partition`` holds the values that the
    folders or the log give for columns that the file itself may lack; with a log they overrule the file.
    ``event_min`` and ``event_max`` bound the event times (UTC microseconds, both inclusive), None where unknown.
    ``modified_ns`` is the file's time of writing, in a log only to the millisecond.
    """

    path: str
    size: int
    modified_ns: int
    partition: dict[str, str | None]
    event_min: int | None = None
    event_max: int | None = None


class LakeSnapshot(msgspec.Struct, frozen=True):
    """The files of a source at one moment, ordered by path.

    ``version`` is the Delta version, -1 for a plain location. ``columns`` are the table's columns by its log, None
    for a plain location. ``partition_columns`` are those the log keeps outside the files.
    """

    uri: str
    version: int
    files: tuple[LakeFile, ...]
    columns: tuple[str, ...] | None = None
    partition_columns: tuple[str, ...] = ()


def snapshot(source: FileSource, *, version: int | None = None, known_at: int | None = None) -> LakeSnapshot:
    """The files of a source, at ``version`` or at the version a DeltaFormat pins, else the newest.

    ``known_at`` (UTC microseconds) takes the greatest version that was committed at or before it, so that a later run
    sees what was known then; a plain location has no commits and is not narrowed. A location that does not exist is
    empty. NotFound where the version does not exist; Unsupported where a Delta table cannot be read exactly, or its
    log no longer reaches back to ``known_at``.
    """
    check_process()
    uri = normalise(source.file_url)
    pinned = source.file_format.version if isinstance(source.file_format, DeltaFormat) else None
    wanted = pinned if version is None else version
    table = None if is_glob(uri) else open_table(uri, wanted)
    if table is None:
        if wanted is not None:
            raise NotFound(
                f"{uri!r} is not a Delta table, so it has no version {wanted}.",
                field="version",
                hint="Leave the version out, or name the folder of the table.",
            )
        return LakeSnapshot(uri, -1, _plain_files(uri))
    if known_at is not None:
        known = _version_known_at(uri, table, known_at)
        if known < 0:
            return LakeSnapshot(uri, -1, (), _columns(table), tuple(table.metadata().partition_columns))
        if known != table.version():
            table = open_table(uri, known) or table
    return LakeSnapshot(
        uri,
        table.version(),
        log_files(uri, table, source.event_timestamp_column),
        _columns(table),
        tuple(table.metadata().partition_columns),
    )


def position(source: FileSource) -> Position:
    """How far a source has come. Its identity changes when a Delta table is made anew at the same place."""
    uri = normalise(source.file_url)
    pinned = source.file_format.version if isinstance(source.file_format, DeltaFormat) else None
    table = None if is_glob(uri) else open_table(uri, pinned)
    if table is None:
        return Position(uri, files=tuple((f.path, f.size, f.modified_ns) for f in _plain_files(uri)))
    return Position(identity(uri, table), table.version())


def files_since(source: FileSource, since: Position) -> LakeSnapshot:
    """The newest snapshot, narrowed to files that were not there at ``since``: none of the new rows is outside them.

    Files that were rewritten (compaction, erasure) come again with their older rows; applying these twice changes
    nothing. A position of another source, or one whose version cannot be read any more, narrows nothing.
    """
    now = snapshot(source)
    if now.version < 0:
        seen = set(since.files) if since.identity == now.uri else set()
        return msgspec.structs.replace(
            now, files=tuple(f for f in now.files if (f.path, f.size, f.modified_ns) not in seen)
        )
    if since.version < 0:
        if since.identity != now.uri:
            return now
        # A plain folder that was adopted since: the log took its files over as they were.
        adopted = {(path, size) for path, size, _ in since.files}
        return msgspec.structs.replace(now, files=tuple(f for f in now.files if (f.path, f.size) not in adopted))
    try:
        table = open_table(now.uri, since.version)
    except NotFound:
        return now
    if table is None or identity(now.uri, table) != since.identity:
        return now
    old = {f.path for f in log_files(now.uri, table, "")}
    return msgspec.structs.replace(now, files=tuple(f for f in now.files if f.path not in old))


def files_ingested(snapshot: LakeSnapshot, instants: Collection[int]) -> set[str]:
    """The paths of files in which rows that were ingested at one of these instants may be, by the log's statistics."""
    table = None if snapshot.version < 0 else open_table(snapshot.uri, snapshot.version)
    if table is None:
        return set()
    return {
        file.path
        for file in log_files(snapshot.uri, table, INGESTED_AT_COLUMN)
        if file.event_min is None
        or file.event_max is None
        or any(file.event_min <= instant <= file.event_max for instant in instants)
    }


def commits_since(source: FileSource, since: Position | None) -> int:
    """How many commits of rows, or files of a plain location, came after a position; all of them for None."""
    newer = snapshot(source) if since is None else files_since(source, since)
    if newer.version < 0 or not newer.files:
        return len(newer.files)
    table = open_table(newer.uri, newer.version)
    if table is None:
        return 0
    follows = since is not None and since.identity == identity(newer.uri, table)
    seen = since.version if since is not None and follows else -1
    with delta_errors(newer.uri):
        history = table.history(newer.version - seen)
    return max(1, len([entry for entry in history if entry["version"] > seen and with_rows(entry)]))


def with_rows(entry: Mapping[str, Any]) -> bool:
    """Whether a commit, as a table's history tells of it, brought rows."""
    return entry["operation"] not in _WITHOUT_ROWS and str(entry.get(ROWS, "")) != "0"


def log_files(uri: str, table: DeltaTable, event_column: str) -> tuple[LakeFile, ...]:
    """The files of an open Delta table, by path."""
    with delta_errors(uri):
        adds = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = table.metadata().partition_columns
    low, high = (_bounds(adds, f"{side}.{event_column}") for side in ("min", "max"))
    parts = [adds[f"partition.{name}"].cast(pl.String).to_list() for name in columns]
    rows = zip(adds["path"], adds["size_bytes"], adds["modification_time"], low, high, *parts, strict=True)
    files = [
        LakeFile(
            _absolute(uri, path),
            size,
            modified * 1_000_000,
            dict(zip(columns, values, strict=True)),
            None if least is None or most is None else least,
            None if least is None or most is None else most + _CUT_US,
        )
        for path, size, modified, least, most, *values in rows
    ]
    return tuple(sorted(files, key=lambda file: file.path))


def _bounds(adds: pl.DataFrame, name: str) -> list[int | None]:
    """A column of statistics in UTC microseconds, nulls where the log has none."""
    if name not in adds.columns or not isinstance(adds.schema[name], pl.Datetime):
        return [None] * adds.height
    return adds[name].dt.epoch("us").to_list()


def _absolute(uri: str, path: str) -> str:
    """The literal path of a file that a log names; logs percent-encode, and may name files of other folders."""
    if is_remote(path):
        return normalise(path) if path.startswith("file:") else unquote(path)
    return unquote(path) if path.startswith("/") else f"{uri}/{unquote(path)}"


def _plain_files(uri: str) -> tuple[LakeFile, ...]:
    return tuple(LakeFile(*found) for found in list_parquet(uri))


def _columns(table: DeltaTable) -> tuple[str, ...]:
    return tuple(field.name for field in table.schema().fields)


def identity(uri: str, table: DeltaTable) -> str:
    """The identity of an open table in positions; it changes when the table is made anew at the same place."""
    return f"{uri}#{table.metadata().id}"


def _version_known_at(uri: str, table: DeltaTable, instant: int) -> int:
    """The greatest version not above the open one that was committed at or before an instant, or -1."""
    with delta_errors(uri):
        history = table.history()
    known = [entry["version"] for entry in history if committed_at(entry) <= instant]
    if known:
        return int(max(known))
    oldest = min((entry["version"] for entry in history), default=0)
    if oldest > 0:
        raise Unsupported(
            f"The log of {uri!r} begins at version {oldest}, so what was known before that cannot be told.",
            field="known_at",
            hint="Keep logs longer: set delta.logRetentionDuration on the table.",
        )
    return -1


def committed_at(entry: dict[str, Any]) -> int:
    """When a commit of a table's history was made, in UTC microseconds; for others' commits to the millisecond."""
    stamp = entry.get(COMMITTED_AT)
    return int(stamp) if stamp is not None else int(entry.get("timestamp", 0)) * 1_000


__all__ = [
    "COMMITTED_AT",
    "ROWS",
    "LakeFile",
    "LakeSnapshot",
    "commits_since",
    "committed_at",
    "files_ingested",
    "files_since",
    "identity",
    "log_files",
    "position",
    "snapshot",
    "with_rows",
]
