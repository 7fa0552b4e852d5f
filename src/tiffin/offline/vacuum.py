"""Vacuum: files that no reader inside the retention needs are removed from the disk.

Kept is what the newest version consists of, what any version since the retention began did, and what a version
consists of that a source is pinned to. The floor of the table (``floor.py``) is raised first, so that whoever asks for
an older version is told, instead of sent to files that vanish. What was *known* then can still be told, from the rows
where they lie now.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

from deltalake import DeltaTable

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.errors import InvalidArgument, NotFound
from tiffin.offline.area import intents, remove, sweep
from tiffin.offline.brought import Brought, brought
from tiffin.offline.delta import open_table
from tiffin.offline.entries import entries
from tiffin.offline.floor import Floor, raise_floor
from tiffin.offline.lake import committed_at, identity
from tiffin.offline.ledger import commits_after
from tiffin.offline.location import Found, is_remote, list_parquet
from tiffin.offline.rewrite import live_files

#: How long files are kept that no version needs any more.
RETENTION_S: Final = 7 * 86_400.0
#: A file that is in no version may be about to be committed. Where it is not known who writes it, only its age tells.
ORPHANED_AFTER_S: Final = 86_400.0
#: The names of files that Tiffin writes: of these an intent tells while they are about to be committed.
_OURS: Final = re.compile(r"part-[0-9a-f]{32}-\d+\.parquet$|-\d{6}-[0-9a-f]{32}\.parquet$")


class Vacuumed(NamedTuple):
    """What was removed, or with ``dry_run`` would be. Versions from ``floor`` on are whole."""

    floor: int
    removed: int
    bytes: int


def vacuum(
    uri: str,
    *,
    retention_s: float = RETENTION_S,
    keep_versions: Collection[int] = (),
    replaced: Collection[str] = (),
    dry_run: bool = False,
    control: Control = UNWATCHED,
) -> Vacuumed:
    """Remove the files of the table at a normalised location that were out of use for ``retention_s`` seconds.

    ``keep_versions`` stay readable whatever their age. ``replaced`` are paths below the table that are known to be out
    of use, so that their age does not count, as the retention does not for them. Nothing is removed where there is no
    log. StorageError where the place refuses the work; run again, it goes on where it stopped.
    """
    if retention_s < 0:
        raise InvalidArgument(f"The retention must not be negative, got {retention_s}.", field="retention")
    # In this order: a file that is listed here, and committed or given up meanwhile, is then in an intent or the log.
    listed = list_parquet(uri)
    flying = intents(uri)
    table = open_table(uri)
    if table is None:
        return Vacuumed(0, 0, 0)
    version = _whole_from(uri, table, clock.now() - round(retention_s * 1_000_000))
    needed = _Needed(
        kept=_kept(uri, table, {version, *keep_versions}) | flying,
        since=brought(commits_after(uri, table, version)),
        replaced=frozenset(replaced),
        young=time.time() - max(retention_s, ORPHANED_AFTER_S),
    )
    gone = [file for file in listed if not needed.includes(uri, file)]
    done = Vacuumed(version, len(gone), sum(file.size for file in gone))
    if dry_run or not gone:
        return done
    raise_floor(uri, Floor(identity(uri, table), version, tuple(sorted(keep_versions))))
    for number, file in enumerate(gone, 1):
        control.check()
        remove(uri, [file.path[len(uri) + 1 :]])
        control.progress(number, unit="files removed")
    sweep(uri, table)
    return done


class _Needed(NamedTuple):
    """What tells files that stay from those that go."""

    kept: set[str]
    since: Brought | None
    replaced: frozenset[str]
    young: float

    def includes(self, uri: str, file: Found) -> bool:
        """Whether a file stays."""
        path = file.path[len(uri) + 1 :]
        if path in self.kept:
            return True
        if path in self.replaced:
            return False
        if self.since is not None and (self.since.is_appended(path) or self.since.is_rewritten(path)):
            return True  # it came and went within the retention
        is_ours = _OURS.search(path) is not None and not is_remote(uri)
        return not (is_ours and self.since is not None) and file.modified_ns / 1e9 > self.young


def _whole_from(uri: str, table: DeltaTable, instant: int) -> int:
    """The version that the table was at then: what later readers opened is that one or a newer one."""
    version = table.version()
    for entry in entries(uri, version):
        version = int(entry["version"])
        if committed_at(entry) <= instant:
            break
    return version


def _kept(uri: str, table: DeltaTable, versions: Collection[int]) -> set[str]:
    """The paths below the table's folder that make up the newest version and others; those of which none is left."""
    kept = _paths(uri, table)
    for version in set(versions) - {table.version()}:
        with suppress(NotFound):  # its log was cleaned up, so nobody can open it
            earlier = open_table(uri, version)
            kept |= set() if earlier is None else _paths(uri, earlier)
    return kept


def _paths(uri: str, table: DeltaTable) -> set[str]:
    return {file.path for file in live_files(uri, table)}
