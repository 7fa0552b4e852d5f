"""Compaction: the many small files of micro-batches and pushes become few, sorted by event time.

Files of one partition are merged in the order in which they came, and each row keeps what ranks it. Only files of which
every row carries the instant of its commit are touched: others rank by the place of their file.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import polars as pl

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.location import is_remote
from tiffin.offline.rewrite import LiveFile, Rewritten, live_files, rewrite, rows_of

#: Bytes of a file that is large enough: half of it is left alone.
TARGET_BYTES: Final = 64 << 20
#: What one commit rewrites at most, so that little is lost where it starts over; it is also what memory is bounded by,
#: at several times as much.
COMMIT_BYTES: Final = 128 << 20

#: The same for a compaction that a writer makes along the way, and seconds after which it begins no further commit.
WAYSIDE_BYTES: Final = 16 << 20
WAYSIDE_SECONDS: Final = 10.0
#: Files of about one size are merged with each other, so that a row is rewritten once a tier and not at every turn.
_TIERS: Final = (64 << 10, 1 << 20)
#: So many times the number that is too many for one partition is too many for all of them together.
_EVERYWHERE: Final = 4


class Compacted(NamedTuple):
    """What a compaction did: ``files`` were there before, ``removed`` of them became ``added``.

    ``rows`` were rewritten, from ``bytes_before`` to ``bytes_after``. ``unstamped`` files were left alone, since their
    rows rank by where they lie. ``version`` is the table's then.
    """

    version: int
    files: int
    removed: int = 0
    added: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    unstamped: int = 0


def compact(
    uri: str, event: str, *, target: int = TARGET_BYTES, fan: int | None = None, control: Control = UNWATCHED
) -> Compacted:
    """Merge the small files of the table at a normalised location; ``event`` is the column of its event times.

    ``target`` is the size in bytes that files are merged up to. With ``fan`` only what has become too many is merged:
    so many files of about one size in one partition, and no longer than a writer can be kept busy with. Errors are
    those of :func:`~tiffin.offline.rewrite.rewrite`.
    """
    table = open_table(uri)
    files = () if table is None else live_files(uri, table)
    until = None if fan is None else time.monotonic() + WAYSIDE_SECONDS
    total = Compacted(0, len(files), unstamped=sum(not file.stamped for file in files))

    def choose(now: tuple[LiveFile, ...]) -> list[Sequence[LiveFile]]:
        small = [file for file in now if file.stamped and file.size < target // 2 and not _is_elsewhere(file)]
        chosen = _by_partition(small) if fan is None else _too_many(small, fan)
        packs = (pack for files in chosen for pack in _packs(uri, files, target))
        return list(_within(packs, COMMIT_BYTES))

    def change(group: Sequence[LiveFile]) -> Iterable[pl.DataFrame]:
        rows = pl.concat([rows_of(uri, file).collect() for file in group], how="diagonal")
        yield rows.sort(event, INGESTED_AT_COLUMN, ROW_COLUMN)

    while True:
        control.check()
        done = rewrite(uri, choose, change, kind="compaction", control=control)
        total = _sum(total, done)
        if not done.removed or (until is not None and time.monotonic() > until):
            break
    if total.removed:
        checkpoint(uri)
    return total


def checkpoint(uri: str) -> None:
    """Have the log begin with what there is now: who opens the table then reads no more than that."""
    table = open_table(uri)
    if table is not None:
        with delta_errors(uri):
            table.create_checkpoint()


def _by_partition(files: Iterable[LiveFile]) -> list[list[LiveFile]]:
    """The files of each partition, in the order in which they came."""
    found: defaultdict[tuple[object, ...], list[LiveFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: (file.modified_ms, file.path)):
        found[tuple(file.partition.items())].append(file)
    return list(found.values())


def _too_many(files: Sequence[LiveFile], fan: int) -> list[list[LiveFile]]:
    """For each partition with ``fan`` files of one tier these and all smaller; else the fullest of too many partitions.

    Partitions that are written to no more would otherwise keep their few files for ever.
    """
    partitions = _by_partition(files)
    found = []
    for members in partitions:
        tiers = [sum(_tier(file) == tier for file in members) for tier in range(len(_TIERS) + 1)]
        full = max((tier for tier, count in enumerate(tiers) if count >= fan), default=-1)
        if full >= 0:
            found.append([file for file in members if _tier(file) <= full])
    if found or len(files) < fan * _EVERYWHERE:
        return found
    left = len(files)
    for members in sorted(partitions, key=len, reverse=True):
        if len(members) < 2 or left <= fan * _EVERYWHERE // 2:
            break
        found.append(members)
        left -= len(members) - 1
    return found


def _tier(file: LiveFile) -> int:
    return sum(file.size >= least for least in _TIERS)


def _packs(uri: str, files: Sequence[LiveFile], target: int) -> Iterator[list[LiveFile]]:
    """Neighbours whose sizes add up to about ``target`` and whose columns agree; none of one file alone."""
    pack: list[LiveFile] = []
    columns: dict[str, pl.DataType] = {}
    size = 0
    for file in files:
        has = dict(rows_of(uri, file).collect_schema())
        if size + file.size > target or any(columns.get(name, dtype) != dtype for name, dtype in has.items()):
            if len(pack) > 1:
                yield pack
            pack, columns, size = [], {}, 0
        pack.append(file)
        columns |= has
        size += file.size
    if len(pack) > 1:
        yield pack


def _within(packs: Iterable[list[LiveFile]], limit: int) -> Iterator[list[LiveFile]]:
    """The first packs, of ``limit`` bytes together."""
    size = 0
    for pack in packs:
        size += sum(file.size for file in pack)
        if size > limit:
            return
        yield pack


def _is_elsewhere(file: LiveFile) -> bool:
    """Whether a file lies in the folder of another table, which this one only reads."""
    return is_remote(file.path) or file.path.startswith("/")


def _sum(total: Compacted, done: Rewritten) -> Compacted:
    return Compacted(
        done.version,
        total.files,
        total.removed + done.removed,
        total.added + done.added,
        total.rows + done.rows,
        total.bytes_before + done.bytes_before,
        total.bytes_after + done.bytes_after,
        total.unstamped,
    )
