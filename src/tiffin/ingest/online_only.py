"""online_only: rows for the online store alone, validated and ranked as those of any batch, and marked.

No history holds them, so no training set ever sees them, and a rebuilt online store lacks them. They exist for callers
who keep their history elsewhere. A row of the history with a greater rank replaces one of these, and the other way
round.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import polars as pl

from tiffin import clock
from tiffin.commit import Commit
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN, TableSchema
from tiffin.ingest.batch import OnInvalid, check_options
from tiffin.ingest.deadletter import folder_of, write_dead_letters
from tiffin.ingest.erased import Guard
from tiffin.ingest.input import frames_of
from tiffin.ingest.materialize import Route, write_frames
from tiffin.ingest.sift import sifted
from tiffin.ingest.validate import Validator
from tiffin.offline.columns import INSTANT, needed, readings


def push_online(
    route: Route,
    table: TableSchema,
    source: Any,
    *,
    max_skew: int,
    on_invalid: OnInvalid = "reject",
    dead_letters: str,
    staging: str,
    control: Control = UNWATCHED,
) -> Commit:
    """Write a batch to the online store as :func:`tiffin.ingest.push.push` would, and to no history.

    The answer is a commit of version -1. Rows later than now + ``max_skew`` (microseconds) are invalid; InvalidData
    where rows are invalid and ``on_invalid`` is "reject", and nothing is written then.
    """
    check_options(None, on_invalid)
    now = clock.now()
    validator = Validator(table, latest=now + max_skew)
    frames = frames_of(source, table)
    metrics = route.metrics
    with sifted(validator, frames, on_invalid=on_invalid, staging=staging, metrics=metrics, control=control) as rows:
        folder = ""
        if rows.bad.rows:
            folder = folder_of(dead_letters, project=table.project, table=table.name, batch=uuid.uuid4().hex)
            write_dead_letters(folder, rows.bad, keep=Guard(table, route.erased).letters)
            metrics.dead_lettered(table, rows.bad.rows)
        identity = route.engine.position(table).identity
        ready = ranked(table, rows.frames(), now)
        written = write_frames(route, table, ready, identity, online_only=True, control=control)
        return Commit(
            table.project,
            table.name,
            -1,
            written.written + written.skipped,
            rows.bad.rows,
            folder,
            first_rejected=tuple(rows.first_bad),
            erased=written.erased,
        )


def ranked(table: TableSchema, frames: Iterator[pl.DataFrame], now: int) -> Iterator[pl.DataFrame]:
    """Stored columns as canonical ones, with the rank that a commit of this instant would give."""
    first_row = 0
    for frame in frames:
        stamped = frame.with_columns(
            pl.lit(now, pl.Int64).cast(INSTANT).alias(INGESTED_AT_COLUMN),
            pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64).alias(ROW_COLUMN),
        )
        first_row += frame.height
        yield canonical(table, stamped)


def canonical(table: TableSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """Stored columns as canonical ones; those that had no value in a batch were not stored, and are null."""
    wanted, _ = needed(table, table.features, frame.columns)
    missing = [pl.lit(None).alias(name) for name in sorted(wanted - set(frame.columns))]
    whole = frame.with_columns(missing)
    return whole.select(reading.expression() for reading in readings(table, table.features, whole.schema))
