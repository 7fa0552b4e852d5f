"""Compaction on request: the histories of tables in few files, and what is out of use off the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.errors import Conflict, FailedPrecondition, InvalidArgument, Unsupported
from tiffin.ingest.batch import target_of
from tiffin.ingest.upkeep import is_safe, lease_name
from tiffin.offline.archive import archive
from tiffin.offline.clean_up import clean_up
from tiffin.offline.compact import compact as merge
from tiffin.offline.delta import open_table
from tiffin.offline.location import list_parquet
from tiffin.offline.vacuum import vacuum as sweep

if TYPE_CHECKING:
    from tiffin.workspace import Workspace

#: Seconds that a compaction waits for a writer that is at it.
WAIT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.2
_DAY_S: Final = 86_400.0


class Vacuum(msgspec.Struct, frozen=True):
    """What is removed, too: files that were out of use for ``retention`` seconds, None for option ``vacuum_retention``.

    ``force`` removes them even where a job that still runs may read them.
    """

    retention: float | None = None
    force: bool = False


class Compaction(msgspec.Struct, frozen=True):
    """What was done to the history of one table.

    Of ``files`` that made it up ``merged`` became ``written``, sizes in bytes; ``vacuumed`` files of ``freed`` bytes
    were removed from the disk. ``unstamped`` files were left alone because another program wrote them: their rows rank
    by where they lie. ``left`` says why nothing was done at all, and is empty where something could be.
    """

    project: str
    feature_table: str
    version: int = -1
    files: int = 0
    merged: int = 0
    written: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    unstamped: int = 0
    vacuumed: int = 0
    freed: int = 0
    left: str = ""


def compact(
    workspace: Workspace,
    tables: Sequence[TableSchema],
    *,
    vacuum: Vacuum | None = None,
    control: Control = UNWATCHED,
) -> list[Compaction]:
    """Merge the small files of tables, and remove what is out of use; what was done to each.

    A location that cannot be compacted is told and left as it is. Conflict where another process is at a table;
    FailedPrecondition where running jobs may read what a vacuum would remove.
    """
    retention = _retention(workspace, vacuum)
    return [_compact(workspace, table, retention, control) for table in tables]


def _compact(workspace: Workspace, table: TableSchema, retention: float | None, control: Control) -> Compaction:
    done = Compaction(table.project, table.name)
    try:
        uri = target_of(table)
    except (Unsupported, InvalidArgument) as error:
        return msgspec.structs.replace(done, left=error.message)
    if open_table(uri) is None:
        plain = "is a plain folder without a log, which its first ingestion adds" if list_parquet(uri) else "is empty"
        return msgspec.structs.replace(done, left=f"{uri} {plain}.")
    with _alone(workspace, table):
        merged = merge(uri, table.event_column, target=workspace.config.getsize("compact_target") or 0, control=control)
        archive(uri)
        done = msgspec.structs.replace(
            done,
            version=merged.version,
            files=merged.files,
            merged=merged.removed,
            written=merged.added,
            rows=merged.rows,
            bytes_before=merged.bytes_before,
            bytes_after=merged.bytes_after,
            unstamped=merged.unstamped,
        )
        if retention is None:
            return done
        pinned = workspace.around.pinned(uri)
        swept = sweep(uri, retention_s=retention, keep_versions=pinned, control=control)
        days = workspace.config.get("log_retention_days")
        if days:
            clean_up(uri, round(float(days) * _DAY_S))
    return msgspec.structs.replace(done, vacuumed=swept.removed, freed=swept.bytes)


def _alone(workspace: Workspace, table: TableSchema) -> ExitStack:
    """The right to merge a table's files, which a writer may have for a moment."""
    until = time.monotonic() + WAIT_S
    block = ExitStack()
    while True:
        try:
            block.enter_context(workspace.around.alone(lease_name(table)))
        except Conflict:
            if time.monotonic() >= until:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return block


def _retention(workspace: Workspace, vacuum: Vacuum | None) -> float | None:
    """The seconds that files are kept, None for no vacuum at all."""
    if vacuum is None:
        return None
    retention = vacuum.retention
    if retention is None:
        retention = workspace.config.getfloat("vacuum_retention_days") * _DAY_S
    if retention < 0:
        raise InvalidArgument(f"A retention must not be negative, got {retention:g} s.", field="retention")
    since = workspace.around.reading_since()
    if vacuum.force or is_safe(retention, since):
        return retention
    assert since is not None, "nobody reads, so every retention is safe"
    raise FailedPrecondition(
        f"A job that began at {clock.to_iso(since)} still runs, and may read files that went out of use since, which a "
        f"retention of {retention:g} s would remove.",
        field="retention",
        hint="Wait for it to end (list_jobs() tells), choose a longer retention, or force it.",
    )
