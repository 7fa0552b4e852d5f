"""Pruning by event time: which files may hold a span of time, and conditions that statistics of row groups can use."""

from __future__ import annotations

from datetime import date
from typing import Final

import polars as pl

from tiffin import clock
from tiffin.offline.lake import LakeFile
from tiffin.offline.runs import folder_value

_DAY: Final = 86_400_000_000
#: What Python's datetime can hold: the years 1 to 9999.
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
#: What nanoseconds of 64 bits can hold.
_NANO_REACH: Final = 2**63 // 1_000 - 2


def may_hold(file: LakeFile, partition_column: str, low: int | None, high: int | None) -> bool:
    """Whether a file may hold events from ``low`` to ``high``, by its statistics and its declared date partition.

    Folders prune only where the source declares that they are the UTC date of the event.
    """
    spans = []
    if file.event_min is not None and file.event_max is not None:
        spans.append((file.event_min, file.event_max))
    day = folder_value(file.partition.get(partition_column)) if partition_column else None
    if isinstance(day, date):
        start = clock.to_micros(day)
        spans.append((start, start + _DAY - 1))
    return all((low is None or end >= low) and (high is None or start <= high) for start, end in spans)


def bounds(name: str, dtype: pl.DataType, low: int | None, high: int | None) -> list[pl.Expr]:
    """Conditions that a column of times lies from ``low`` to ``high``: exact for instants, else never too strict."""
    column = pl.col(name)
    nanos = isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
    if low is not None and nanos:
        low -= 1  # what lies between two microseconds counts as the later one
    return [
        compare(_literal(instant, dtype))
        for instant, compare in ((low, column.ge), (high, column.le))
        if instant is not None and _FIRST <= instant <= _LAST and not (nanos and abs(instant) > _NANO_REACH)
    ]


def _literal(instant: int, dtype: pl.DataType) -> pl.Expr:
    moment = clock.to_datetime(instant)
    if dtype == pl.Date:
        return pl.lit(moment.date())
    zone = getattr(dtype, "time_zone", None)
    if zone is None:
        return pl.lit(moment.replace(tzinfo=None), pl.Datetime("us")).cast(dtype)
    return pl.lit(moment, pl.Datetime("us", "UTC")).cast(dtype)
