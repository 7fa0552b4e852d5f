"""Latest: the row of greatest rank of every key inside a window, for materialisation and batch scoring."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from tiffin.control import Control
from tiffin.definitions.schema import INGESTED_AT, TableSchema
from tiffin.offline import budget, lake
from tiffin.offline.asof import latest_of_keys
from tiffin.offline.base import Window
from tiffin.offline.buckets import Buckets, bucket_of
from tiffin.offline.columns import INSTANT, canonical_types
from tiffin.offline.look import FileRows, Rows, SpilledRows
from tiffin.offline.runs import AT
from tiffin.offline.source import History, check_unchanged, file_source, open_history
from tiffin.types import polars_type

#: Rows that are handed out at once.
BATCH_ROWS: Final = 131_072


def latest(
    table: TableSchema, window: Window, keys: pl.DataFrame | None, memory_budget: int | None, control: Control
) -> Iterator[pl.DataFrame]:
    """The winners inside a window as canonical frames, tombstones included; see OfflineEngine."""
    # The new files come first: a file that is rewritten between two looks is then in both or in the later one.
    newer = None if window.since is None else lake.files_since(file_source(table), window.since)
    version = newer.version if newer is not None and newer.version >= 0 else None
    snapshot = lake.snapshot(file_source(table), version=version)
    low, high = window.start, None if window.end is None else window.end - 1
    if newer is None:
        files, conditions = _of_commits(table, snapshot, window.commits)
        history = open_history(table, table.features, snapshot, files=files, low=low, high=high)
        rows = FileRows(history, low=low, high=high, conditions=conditions, keys=keys)
    else:
        rows = _changed(table, window, newer, snapshot)
    if memory_budget is not None and rows.history.rows * _narrow_bytes(table) > memory_budget:
        yield from _on_disk(table, rows, memory_budget, control)
    else:
        yield from _winners(table, rows, control)
    check_unchanged(table, snapshot)


def _of_commits(
    table: TableSchema, snapshot: lake.LakeSnapshot, commits: tuple[int, ...] | None
) -> tuple[list[lake.LakeFile] | None, list[pl.Expr]]:
    """The files in which rows of some commits may be, and the condition that a row is one of them; None for all."""
    if commits is None:
        return None, []
    paths = lake.files_ingested(snapshot, commits)
    stamps = pl.Series(commits, dtype=pl.Int64).cast(INSTANT)
    return [file for file in snapshot.files if file.path in paths], [pl.col(INGESTED_AT).is_in(stamps.implode())]


def _changed(table: TableSchema, window: Window, newer: lake.LakeSnapshot, snapshot: lake.LakeSnapshot) -> FileRows:
    """The rows among which the winners of an incremental run are sought.

    Where every new row carries the stamp of its commit, the new files and what was pending in older ones. Where not,
    all rows of the keys that these have: only among them is a tie decided as it is for the whole history.
    """
    low, high = window.start, None if window.end is None else window.end - 1
    # A file that was rewritten since holds rows of both kinds.
    news = {file.path for file in newer.files if file.stamps is None}
    olds = [file for file in snapshot.files if file.path not in news]
    new = open_history(table, table.features, snapshot, files=newer.files, low=low, high=high)
    runs = list(new.runs)
    if window.revisit_from is not None:
        again = window.revisit_from if low is None else max(window.revisit_from, low)
        old = open_history(table, table.features, snapshot, files=olds, low=again, high=high)
        runs += [msgspec.structs.replace(run, low=again) for run in old.runs]
    changed = FileRows(History(table, table.features, runs), low=low, high=high)
    followed = window.since is not None and window.since.version >= 0 and newer.version >= 0
    if followed and _is_stamped(new):
        return changed
    keys = changed.narrow(table.key_names).select(table.key_names).unique()
    whole = open_history(table, table.features, snapshot, low=low, high=high)
    return FileRows(whole, low=low, high=high, keys=keys)


def _is_stamped(history: History) -> bool:
    """Whether every row carries the instant of its commit."""
    with history.collecting():
        return not history.scan().select(pl.col(INGESTED_AT).is_null().any()).collect().item()


def _winners(table: TableSchema, rows: Rows, control: Control) -> Iterator[pl.DataFrame]:
    control.check()
    history = rows.narrow([*table.key_names, *rows.rank])
    numbers = latest_of_keys(history, table.key_names, rows.rank)[AT].sort()
    del history
    names = list(canonical_types(table, table.features))
    if numbers.is_empty():
        yield rows.fetch(numbers, names).drop(AT)
        return
    for batch in rows.batches(numbers, names, BATCH_ROWS):
        control.check()
        yield batch.drop(AT)


def _on_disk(table: TableSchema, rows: FileRows, memory_budget: int, control: Control) -> Iterator[pl.DataFrame]:
    """As :func:`_winners`, bucket by bucket of the hash of keys."""
    share = budget.share_of(memory_budget)
    names = list(canonical_types(table, table.features))
    row_bytes = budget.width(canonical_types(table, table.features).values())
    count = budget.buckets_within(share, rows.history.rows * _narrow_bytes(table))
    with tempfile.TemporaryDirectory(prefix="tiffin-latest-") as folder:
        buckets = Buckets(Path(folder) / "rows", count, share // 2)
        for piece in rows.pieces(budget.rows_within(share, 3 * row_bytes), names):
            control.check()
            buckets.add(piece, bucket_of(table.key_names, count))
        buckets.flush()
        for number in range(count):
            yield from _winners(table, SpilledRows(buckets.scan(number), rows.rank), control)
            buckets.drop(number)


def _narrow_bytes(table: TableSchema) -> int:
    keys = budget.width(polars_type(key.dtype) for key in table.keys)
    return (keys + 40) * budget.COPIES
