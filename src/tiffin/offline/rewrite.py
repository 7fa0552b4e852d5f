"""Rewriting a lake: some of its files replaced by others in one commit, under every writer that appends meanwhile.

A compaction changes where rows lie, an erasure which rows there are. Either reads the files it replaces, writes the
new ones unseen, and commits both sides in one entry of the log. An append that lands in between stays as it is: it
names other files. Where a file that is being replaced was replaced by another writer first, the work starts over.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import INGESTED_AT_COLUMN
from tiffin.errors import ConcurrentChange, CorruptData, Unsupported
from tiffin.offline.area import TOKEN, Area, Part
from tiffin.offline.attempt import REWRITE, add_action, attempt
from tiffin.offline.brought import ROWS
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.footers import storage_errors
from tiffin.offline.location import is_remote
from tiffin.offline.parts import statistics
from tiffin.offline.target import check_writable, stamped

Kind = Literal["compaction", "erasure"]

#: How often a lost race for a version is run again, and how often the work starts over for files replaced meanwhile.
ATTEMPTS: Final = 100
RESTARTS: Final = 10
#: Rows that statistics inside a file speak of: small enough that a look at one time skips most of a large file.
GROUP_ROWS: Final = 131_072

#: What the name of a replacement ends in, from the place of the file that it replaces on.
_REPLACEMENT: Final = re.compile(r"-[0-9a-f]{32}\.parquet$")
_REPLACEMENTS: Final = re.compile(r"(-\d{6})+-[0-9a-f]{32}\.parquet$")


class LiveFile(msgspec.Struct, frozen=True):
    """A file that a table's newest version consists of.

    ``path`` lies below the table's folder, or is a URI where the log names a file of another table. ``stamped`` says
    that every row is known to carry the instant of its commit: its place among other files then decides nothing.
    """

    path: str
    size: int
    rows: int | None
    modified_ms: int
    partition: dict[str, str | None]
    stamped: bool


class Rewritten(NamedTuple):
    """What was replaced. ``version`` is the commit's, or the table's where there was nothing to do."""

    version: int
    removed: int = 0
    added: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0


#: Which files are replaced together, given all of them; those of a group lie in one partition.
Choose = Callable[[tuple[LiveFile, ...]], Iterable[Sequence[LiveFile]]]
#: The rows that a group's files are replaced by: each frame becomes a file, an empty one none.
Change = Callable[[Sequence[LiveFile]], Iterable[pl.DataFrame]]


class _Replaced(Exception):  # no error: the work starts over
    """Another writer replaced a file that was to be replaced."""


def rewrite(uri: str, choose: Choose, change: Change, *, kind: Kind, control: Control = UNWATCHED) -> Rewritten:
    """Replace groups of files of the table at a normalised location, all of them in one commit or nothing.

    ``choose`` is asked again with the files that there are then whenever the work starts over; where it chooses none
    nothing is committed. ``change`` reads with :func:`rows_of` and keeps the columns as they are; for a compaction it
    keeps the rows, too. Rows without a stamp rank by their place, so that their order and that of their files stay.

    ConcurrentChange where other writers won every race; Unsupported where the location has no log, or its table
    requires of writers what Tiffin does not do; StorageError where the place refuses the work.
    """
    for _ in range(RESTARTS):
        table = open_table(uri)
        if table is None:
            raise Unsupported(
                f"{uri!r} is a plain folder: without a log its files cannot be replaced while others read them.",
                field="file_url",
                hint="The first ingestion into it adds a log.",
            )
        check_writable(uri, table)
        files = live_files(uri, table)
        groups = [tuple(group) for group in choose(files) if group]
        if not groups:
            return Rewritten(table.version())
        try:
            return _replace(uri, table, files, groups, change, kind, control)
        except _Replaced:
            continue
    raise ConcurrentChange(f"Other writers kept replacing the files of {uri!r}.", hint="Try again.")


def live_files(uri: str, table: DeltaTable) -> tuple[LiveFile, ...]:
    """The files of an open table, by path."""
    with delta_errors(uri):
        adds = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = table.metadata().partition_columns
    names = (f"min.{INGESTED_AT_COLUMN}", f"null_count.{INGESTED_AT_COLUMN}")
    unknown = pl.repeat(None, adds.height, eager=True)
    least, nulls = (adds[name] if name in adds.columns else unknown for name in names)
    rows = adds["num_records"] if "num_records" in adds.columns else unknown
    parts = [adds[f"partition.{name}"].cast(pl.String).to_list() for name in columns]
    found = zip(adds["path"], adds["size_bytes"], rows, adds["modification_time"], least, nulls, *parts, strict=True)
    files = [
        LiveFile(
            unquote(path),
            size,
            height,
            modified,
            dict(zip(columns, values, strict=True)),
            first is not None and not gaps,
        )
        for path, size, height, modified, first, gaps, *values in found
    ]
    return tuple(sorted(files, key=lambda file: file.path))


def rows_of(uri: str, file: LiveFile) -> pl.LazyFrame:
    """The rows of a file as they are stored, in their order, without the columns that only the log holds."""
    place = file.path if is_remote(file.path) or file.path.startswith("/") else f"{uri}/{file.path}"
    return pl.scan_parquet(place, glob=False, hive_partitioning=False)


def _replace(
    uri: str,
    table: DeltaTable,
    files: tuple[LiveFile, ...],
    groups: Sequence[Sequence[LiveFile]],
    change: Change,
    kind: Kind,
    control: Control,
) -> Rewritten:
    olds = [file for group in groups for file in group]
    with delta_errors(uri), Area(uri) as area:
        try:
            parts = list(_written(uri, table, area, files, groups, change, control))
        except (FileNotFoundError, CorruptData):
            _check_live(uri, table, olds)  # removed under our hands, or truly broken
            raise
        if kind == "compaction":
            _check_kept(uri, olds, parts)
        area.publish(table.version())
        changed = kind != "compaction"
        for _ in range(ATTEMPTS):
            metadata: dict[str, str | int] = {TOKEN: area.token, REWRITE: kind, ROWS: 0}
            properties = stamped(table, **metadata)
            removed = [
                RemoveAction(file.path, changed, clock.now() // 1_000, file.size, file.partition) for file in olds
            ]
            added = [add_action(part, data_change=changed) for part in parts]
            version = attempt(uri, table, area, [*removed, *added], properties)
            if version is not None:
                area.keep()
                area.settle(version)
                return Rewritten(
                    version,
                    len(olds),
                    len(parts),
                    sum(part.rows for part in parts),
                    sum(file.size for file in olds),
                    sum(part.size for part in parts),
                )
            check_writable(uri, table)
            _check_live(uri, table, olds)
            control.check()
    raise ConcurrentChange(f"Other writers committed to {uri!r} first, {ATTEMPTS} times in a row.", hint="Try again.")


def _written(
    uri: str,
    table: DeltaTable,
    area: Area,
    files: tuple[LiveFile, ...],
    groups: Sequence[Sequence[LiveFile]],
    change: Change,
    control: Control,
) -> Iterator[Part]:
    """The new files in the staging area."""
    indexed = _indexed(uri, table)
    numbers = count()
    done = 0
    for group in groups:
        control.check()
        stem = _stem(group, files)
        with storage_errors(f"A file of {uri!r}"):
            for frame in change(group):
                if frame.is_empty():
                    continue
                content = io.BytesIO()
                frame.write_parquet(content, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS)
                view = content.getbuffer()
                path = f"{stem}-{next(numbers):06}-{area.token}.parquet"
                area.save(view, path)
                yield Part(path, len(view), frame.height, group[0].partition, statistics(_instants(frame), indexed))
                done += frame.height
                control.progress(done)


def _stem(group: Sequence[LiveFile], files: Sequence[LiveFile]) -> str:
    """What the names of the files begin with that replace a group."""
    if not all(file.stamped for file in group):
        return _place(group, files)
    first = group[0].path
    folder = f"{first.rpartition('/')[0]}/" if "/" in first and not is_remote(first) else ""
    return f"{folder}part"


def _place(group: Sequence[LiveFile], files: Sequence[LiveFile]) -> str:
    """What names begin with that come where the only file of a group was, among files whose rows rank by it."""
    first = group[0].path
    others = [file.path for file in files if file not in group and not file.stamped]
    if len(group) == 1 and not is_remote(first):
        # As short as can be, so that it does not grow with every erasure.
        for stem in (_REPLACEMENTS.sub("", first), _REPLACEMENT.sub("", first)):
            begin = f"{stem}-"
            if all((path < first) == (path < begin) and not path.startswith(begin) for path in others):
                return stem
    raise Unsupported(
        f"{first!r} cannot be replaced without a change of its place among files whose rows rank by it.",
        field="file_url",
        hint="Rename files whose names begin with that of another.",
    )


def _indexed(uri: str, table: DeltaTable) -> list[str]:
    """The columns of which the log has statistics for any file."""
    with delta_errors(uri):
        columns = pl.DataFrame(table.get_add_actions(flatten=True)).columns
    return [name.removeprefix("null_count.") for name in columns if name.startswith("null_count.")]


def _instants(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of times as the log writes them: microseconds in UTC. What is cut off a maximum readers allow for."""
    return frame.with_columns(
        (pl.col(name) if dtype.time_zone else pl.col(name).dt.replace_time_zone("UTC"))
        .dt.convert_time_zone("UTC")
        .dt.cast_time_unit("us")
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Datetime)
    )


def _check_live(uri: str, table: DeltaTable, olds: Sequence[LiveFile]) -> None:
    """Raise _Replaced where a file is not the table's any more."""
    with delta_errors(uri):
        table.update_incremental()
    live = {(file.path, file.size) for file in live_files(uri, table)}
    if any((file.path, file.size) not in live for file in olds):
        raise _Replaced


def _check_kept(uri: str, olds: Sequence[LiveFile], parts: Sequence[Part]) -> None:
    """Nothing is committed that has fewer or more rows than what it replaces."""
    before, after = sum(file.rows or 0 for file in olds), sum(part.rows for part in parts)
    if before != after and all(file.rows is not None for file in olds):
        raise CorruptData(
            f"{len(olds)} files of {uri!r} hold {after} rows, but the log says {before}: they are left as they are.",
            field="file_url",
            hint="Compare the files with a backup; another program wrote them.",
        )


__all__ = ["Change", "Choose", "Kind", "LiveFile", "Rewritten", "live_files", "rewrite", "rows_of"]
