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
from tiffin.offline.brought import ROWS, Brought, brought, with_rows
from tiffin.offline.delta import check_process, delta_errors, open_table
from tiffin.offline.entries import entries
from tiffin.offline.floor import floor_of
from tiffin.offline.ledger import commits_after
from tiffin.offline.location import is_glob, is_remote, list_parquet, normalise

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: The key of a commit's metadata that holds when it was made, in UTC microseconds.
COMMITTED_AT: Final = "tiffin.committed_at"

#: Statistics in a log may be cut to milliseconds, so that a maximum lies up to this much too low.
_CUT_US: Final = 999


class Stamps(msgspec.Struct, frozen=True):
    """Which rows of a file count: those ingested at ``instants``, or all others, with those that have no instant."""

    instants: tuple[int, ...]
    inside: bool


class LakeFile(msgspec.Struct, frozen=True):
    """One Parquet file of a snapshot.

    ``path`` is absolute (a URI on buckets) and literal: it is never a pattern. ``partition`` holds the values that the
    folders or the log give for columns that the file itself may lack; with a log they overrule the file.
    ``event_min`` and ``event_max`` bound the event times (UTC microseconds, both inclusive), None where unknown.
    No row was ingested after ``ingested_max``, None where that is unknown. ``modified_ns`` is the file's time of
    writing, in a log only to the millisecond. ``stamps`` narrow it to some of its rows, where not all count.
    """

    path: str
    size: int
    modified_ns: int
    partition: dict[str, str | None]
    event_min: int | None = None
    event_max: int | None = None
    ingested_max: int | None = None
    stamps: Stamps | None = None


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
    empty. NotFound where the version does not exist, or was vacuumed; Unsupported where a Delta table cannot be read
    exactly, or its log no longer reaches back to ``known_at``.
    """
    uri, pinned = _place(source)
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
    if wanted is not None and not floor_of(uri, identity(uri, table)).holds(wanted):
        raise NotFound(
            f"Version {wanted} of {uri!r} cannot be read any more: its files were vacuumed.",
            field="version",
            hint="Ask for what was known at an instant instead (known_at), or for a newer version.",
        )
    now = _listed(uri, table, source)
    return now if known_at is None else _known_at(now, table, source, known_at)


def _place(source: FileSource) -> tuple[str, int | None]:
    """The normalised location of a source, and the version that it is pinned to."""
    check_process()
    pinned = source.file_format.version if isinstance(source.file_format, DeltaFormat) else None
    return normalise(source.file_url), pinned


def _listed(uri: str, table: DeltaTable, source: FileSource) -> LakeSnapshot:
    """The snapshot of an open table."""
    files = log_files(uri, table, source.event_timestamp_column)
    columns = tuple(field.name for field in table.schema().fields)
    return LakeSnapshot(uri, table.version(), files, columns, tuple(table.metadata().partition_columns))


def _known_at(now: LakeSnapshot, table: DeltaTable, source: FileSource, instant: int) -> LakeSnapshot:
    """The snapshot as it was at an instant. Of a version that was vacuumed the rows are found where they lie now."""
    known = _version_known_at(now.uri, table, instant)
    if known < 0:
        return msgspec.structs.replace(now, version=-1, files=())
    if known == now.version:
        return now
    if floor_of(now.uri, identity(now.uri, table)).holds(known):
        earlier = open_table(now.uri, known)
        return now if earlier is None else _listed(now.uri, earlier, source)
    since = brought(commits_after(now.uri, table, known))
    if since is None:
        raise Unsupported(
            f"Version {known} of {now.uri!r}, which was known then, was vacuumed, and others have written to the table "
            "since, of whose rows its log does not tell when they came.",
            field="known_at",
            hint="Let a longer retention pass before vacuuming tables that others write.",
        )
    return msgspec.structs.replace(now, files=_narrowed(now.files, since, inside=False))


def position(source: FileSource) -> Position:
    """How far a source has come. Its identity changes when a Delta table is made anew at the same place."""
    uri, pinned = _place(source)
    table = None if is_glob(uri) else open_table(uri, pinned)
    if table is None:
        return Position(uri, files=tuple((f.path, f.size, f.modified_ns) for f in _plain_files(uri)))
    return Position(identity(uri, table), table.version())


def files_since(source: FileSource, since: Position) -> LakeSnapshot:
    """The newest snapshot, narrowed to what was not there at ``since``: none of the new rows is outside.

    Of a file that was rewritten since (compaction, erasure) the rows of newer commits alone count, where all of these
    tell which they are; else its older rows come again, and applying these twice changes nothing. A position of
    another source, or one whose version cannot be read any more, narrows nothing.
    """
    uri, pinned = _place(source)
    table = None if is_glob(uri) else open_table(uri, pinned)
    if table is None:
        seen = set(since.files) if since.identity == uri else set()
        files = tuple(f for f in _plain_files(uri) if (f.path, f.size, f.modified_ns) not in seen)
        return LakeSnapshot(uri, -1, files)
    now = _listed(uri, table, source)
    if since.version < 0:
        if since.identity != uri:
            return now
        # A plain folder that was adopted since: the log took its files over as they were.
        adopted = {(path, size) for path, size, _ in since.files}
        return msgspec.structs.replace(now, files=tuple(f for f in now.files if (f.path, f.size) not in adopted))
    if since.identity != identity(uri, table):
        return now
    news = brought(commits_after(uri, table, since.version)) if since.version <= now.version else None
    if news is not None:
        return msgspec.structs.replace(now, files=_narrowed(now.files, news, inside=True))
    try:
        earlier = open_table(uri, since.version)
    except NotFound:
        return now
    old = set() if earlier is None else {f.path for f in log_files(uri, earlier, "")}
    return msgspec.structs.replace(now, files=tuple(f for f in now.files if f.path not in old))


def _narrowed(files: tuple[LakeFile, ...], news: Brought, *, inside: bool) -> tuple[LakeFile, ...]:
    """What files hold of commits, or without them."""
    stamps = Stamps(news.instants, inside)
    kept = []
    for file in files:
        if news.is_rewritten(file.path):
            known = file.ingested_max
            if not inside or (news.instants and (known is None or known >= news.instants[0])):
                kept.append(msgspec.structs.replace(file, stamps=stamps))
        elif news.is_appended(file.path) is inside:
            kept.append(file)
    return tuple(kept)


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
    told = commits_after(newer.uri, table, seen).entries
    return max(1, len([entry for entry in told if with_rows(entry)]))


def log_files(uri: str, table: DeltaTable, event_column: str) -> tuple[LakeFile, ...]:
    """The files of an open Delta table, by path."""
    with delta_errors(uri):
        adds = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = table.metadata().partition_columns
    low, high = (_bounds(adds, f"{side}.{event_column}") for side in ("min", "max"))
    last = _bounds(adds, f"max.{INGESTED_AT_COLUMN}")
    parts = [adds[f"partition.{name}"].cast(pl.String).to_list() for name in columns]
    rows = zip(adds["path"], adds["size_bytes"], adds["modification_time"], low, high, last, *parts, strict=True)
    files = [
        LakeFile(
            _absolute(uri, path),
            size,
            modified * 1_000_000,
            dict(zip(columns, values, strict=True)),
            None if least is None or most is None else least,
            None if least is None or most is None else most + _CUT_US,
            None if newest is None else newest + _CUT_US,
        )
        for path, size, modified, least, most, newest, *values in rows
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


def identity(uri: str, table: DeltaTable) -> str:
    """The identity of an open table in positions; it changes when the table is made anew at the same place."""
    return f"{uri}#{table.metadata().id}"


def _version_known_at(uri: str, table: DeltaTable, instant: int) -> int:
    """The greatest version not above the open one that was committed at or before an instant, or -1."""
    oldest = table.version() + 1
    for entry in entries(uri, table.version()):
        oldest = int(entry["version"])
        if committed_at(entry) <= instant:
            return oldest
    if oldest > 0:
        raise Unsupported(
            f"The log of {uri!r} begins at version {oldest}, so what was known before that cannot be told.",
            field="known_at",
            hint="Keep logs longer: set delta.logRetentionDuration on the table.",
        )
    return -1


def committed_at(entry: Mapping[str, Any]) -> int:
    """When a commit of a table's history was made, in UTC microseconds; for others' commits to the millisecond."""
    stamp = entry.get(COMMITTED_AT)
    return int(stamp) if stamp is not None else int(entry.get("timestamp", 0)) * 1_000


__all__ = [
    "COMMITTED_AT",
    "ROWS",
    "LakeFile",
    "LakeSnapshot",
    "Stamps",
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
