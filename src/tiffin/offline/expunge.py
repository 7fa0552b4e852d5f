"""Expunging: rows of some keys leave a history for good, and so do the files and the statistics that told of them.

The fence of the table is set first, so that whatever is committed from then on leaves these rows out. Then files that
hold them are replaced by others without them, in one commit. Then every file that is no longer in use and holds such a
row is removed at once, whatever retention says, but for those that a pinned version consists of. Last the log itself:
it keeps the least and greatest key of each file. Run again it goes on wherever it was cut off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import polars as pl
from deltalake import DeltaTable

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.format import DeltaFormat
from tiffin.definitions.schema import TableSchema
from tiffin.definitions.source import FileSource
from tiffin.errors import Unsupported
from tiffin.offline.area import AREA, remove, seconds_old, sweep
from tiffin.offline.columns import key_readings, loosely
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.fence import set_fence
from tiffin.offline.floor import Floor, raise_floor
from tiffin.offline.footers import storage_errors
from tiffin.offline.lake import LakeFile, identity, log_files, snapshot
from tiffin.offline.location import is_glob, is_remote, list_parquet, normalise
from tiffin.offline.mapping import columns_read
from tiffin.offline.parts import Batch
from tiffin.offline.rewrite import LiveFile, rewrite, rows_of
from tiffin.offline.runs import Listing
from tiffin.offline.scrub import scrub
from tiffin.offline.target import prepare
from tiffin.types import ValueType

#: A file that no commit names may be one that another program is about to commit, until it is this old.
ORPHANED_AFTER_S: Final = 3600.0

#: A batch whose lock nobody holds is abandoned after so many seconds.
ABANDONED_AFTER_S: Final = 2.0

Gone = Callable[[pl.Series], pl.Series | None]
"""Which of an entity's keys go, in their registered type; None where none does."""


class Expunged(NamedTuple):
    """What was done: how many rows went, and the files that hold some still, with the reason."""

    rows: int = 0
    left: tuple[str, ...] = ()


class _Key:
    """The keys of one entity in the files of one table."""

    def __init__(self, table: TableSchema, entity: str, gone: Gone) -> None:
        self.column = next(column for column in table.keys if column.name == entity)
        self._table = table
        self._gone = gone

    def rows(self, file: LakeFile) -> pl.Series | None:
        """Which rows of a file go; None where none does, or where it lacks what the key is read from."""
        texts = [self.column.expression] if self.column.dtype is ValueType.STRING else []
        listing = Listing.of([file], texts)
        types = listing.types()
        wanted = sorted(columns_read(self._table, self.column, types))
        if any(name not in types for name in wanted):
            return None
        [run] = listing.runs(wanted, types)
        alone = msgspec.structs.replace(self._table, keys=(self.column,))
        [reading] = key_readings(alone, run.types)
        return self._gone(run.scan().select(reading.expression()).collect().to_series())

    def count(self, file: LakeFile) -> int:
        """How many rows of a file go."""
        with storage_errors(f"{self._table.label()}: {file.path!r}"):
            mask = self.rows(file)
        return 0 if mask is None else int(mask.sum())

    def has(self, bounds: Sequence[object]) -> bool:
        """Whether one of the least or greatest values that a log tells is a key that goes."""
        mask = self._gone(loosely(pl.Series(self.column.name, [str(bound) for bound in bounds]), self.column.dtype))
        return mask is not None and bool(mask.any())


def expunge(
    table: TableSchema,
    entity: str,
    gone: Gone,
    fence: int,
    *,
    pinned: Collection[int] = (),
    dry_run: bool = False,
    control: Control = UNWATCHED,
) -> Expunged:
    """Remove rows from a table's batch source by their keys of one entity; with ``dry_run`` only count them.

    ``fence`` is the registry's version that writers must know from here on. Files of the versions ``pinned`` stay, and
    are told. A plain folder that holds such rows gets a log first, as by its first ingest. Unsupported for a source
    that cannot be changed: one in a database, a pattern, a single file, or a version of a table.
    """
    uri, source = _place(table)
    key = _Key(table, entity, gone)
    if dry_run:
        return Expunged(sum(key.count(file) for file in snapshot(source).files))
    opened = open_table(uri)
    if opened is None:
        if not any(key.count(LakeFile(*found)) for found in list_parquet(uri)):
            return Expunged()
        opened = _adopted(uri, table)
    set_fence(uri, opened, fence)
    rows = _rewritten(uri, key, control)
    with delta_errors(uri):
        opened.update_incremental()
    _sweep(uri, opened)
    left = _remove_old(uri, opened, key, pinned, control)
    scrub(uri, key.column.expression, key.has)
    return Expunged(rows, left)


def _place(table: TableSchema) -> tuple[str, FileSource]:
    source = table.source
    if not isinstance(source, FileSource):
        raise Unsupported(f"{table.label()} has a {type(source).__name__}, whose rows its own tools must delete.")
    uri = normalise(source.file_url)
    if is_glob(uri) or (not is_remote(uri) and Path(uri).is_file()):
        raise Unsupported(f"{table.label()} reads {source.file_url!r}, which is no folder that can be rewritten.")
    if isinstance(source.file_format, DeltaFormat) and source.file_format.version is not None:
        raise Unsupported(f"{table.label()} is pinned to version {source.file_format.version} of {source.file_url!r}.")
    return uri, source


def _adopted(uri: str, table: TableSchema) -> DeltaTable:
    """The table of a plain folder, which gets a log as by its first ingest."""
    nothing = Batch(lambda: iter(()), {}, frozenset(), (), table.event_column, "")
    return prepare(uri, nothing)[0]


def _rewritten(uri: str, key: _Key, control: Control) -> int:
    """Replace the files that hold such rows; how many rows there were."""
    counts: dict[str, int] = {}

    def choose(live: tuple[LiveFile, ...]) -> Iterable[Sequence[LiveFile]]:
        counts.clear()
        for file in live:
            control.check()
            count = key.count(_as_file(uri, file))
            if count:
                counts[file.path] = count
        return [(file,) for file in live if file.path in counts]

    def change(group: Sequence[LiveFile]) -> Iterator[pl.DataFrame]:
        [file] = group
        with storage_errors(f"A file of {uri!r}"):
            rows = rows_of(uri, file).collect()
            mask = key.rows(_as_file(uri, file))
        yield rows if mask is None else rows.filter(~mask)

    rewrite(uri, choose, change, kind="erasure", control=control)
    return sum(counts.values())


def _sweep(uri: str, opened: DeltaTable) -> None:
    """Remove what writers left that were killed; of one at work it goes with the commit that it will lose."""
    area = Path(uri) / AREA
    # Those that are there now: what begins later knows the fence.
    begun = [] if is_remote(uri) or not area.is_dir() else [each for each in area.iterdir() if each.is_dir()]
    while any((old := seconds_old(folder)) is not None and old < ABANDONED_AFTER_S for folder in begun):
        time.sleep(0.1)
    sweep(uri, opened, older_than=ABANDONED_AFTER_S)


def _remove_old(uri: str, opened: DeltaTable, key: _Key, pinned: Collection[int], control: Control) -> tuple[str, ...]:
    """Remove files out of use that hold such rows; those that stay, with the reason."""
    with delta_errors(uri):
        removed = opened.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
        everything = opened.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True)
    listed = {found.path: found for found in list_parquet(uri)}
    kept = {path: version for version in pinned for path in _paths_at(uri, version)}
    live = {file.path for file in log_files(uri, opened, "")}
    left: list[str] = []
    for path in sorted({*removed, *everything}):
        control.check()
        place = f"{uri}/{path}"
        found = listed.get(place)
        if found is None or place in live or not key.count(LakeFile(*found)):
            continue
        young = time.time() - found.modified_ns / 1e9 < ORPHANED_AFTER_S
        if place in kept:
            left.append(f"{place}: version {kept[place]}, which is pinned, consists of it")
        elif path not in removed and young:
            left.append(f"{place}: of no commit, and so young that one may be about to follow")
        else:
            # Versions before this one are whole no more: what was known then is told from the rows that are left.
            raise_floor(uri, Floor(identity(uri, opened), opened.version(), tuple(pinned)))
            remove(uri, [path])
    return tuple(left)


def _paths_at(uri: str, version: int) -> list[str]:
    table = open_table(uri, version)
    return [] if table is None else [file.path for file in log_files(uri, table, "")]


def _as_file(uri: str, file: LiveFile) -> LakeFile:
    inside = not (is_remote(file.path) or file.path.startswith("/"))
    return LakeFile(f"{uri}/{file.path}" if inside else file.path, file.size, 0, file.partition)
