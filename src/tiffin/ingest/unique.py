"""Rows of one batch that repeat a key and event time, found in bounded memory (UniqueKeyAndTime)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import polars as pl

#: How many rows are compared at once; larger batches are compared by buckets of their hash, one after another.
BUCKET_ROWS: Final = 4_000_000


def repeated(
    identities: Callable[[], Iterator[pl.DataFrame]], rows: int, *, bucket_rows: int = BUCKET_ROWS
) -> pl.Series:
    """The positions of rows that repeat an earlier row, sorted. ``identities`` gives what is compared, in order."""
    buckets = max(1, -(-rows // bucket_rows))
    found = [_in_bucket(identities, bucket, buckets) for bucket in range(buckets)]
    return pl.concat(found).sort()


def _in_bucket(identities: Callable[[], Iterator[pl.DataFrame]], bucket: int, buckets: int) -> pl.Series:
    first = 0
    parts = []
    for frame in identities():
        placed = frame.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("$position"))
        first += frame.height
        parts.append(placed.filter(frame.hash_rows(seed=0) % buckets == bucket) if buckets > 1 else placed)
    if not parts:
        return pl.Series("$position", [], pl.Int64)
    whole = pl.concat(parts)
    return whole.filter(~pl.struct(pl.exclude("$position")).is_first_distinct())["$position"]
