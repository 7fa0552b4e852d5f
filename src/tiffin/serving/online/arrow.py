"""Answers as Arrow IPC streams: exact types, for whoever asks for many rows.

Columns are the entities, and for each feature ``NAME``, ``NAME@status`` (a dictionary of the four statuses) and
``NAME@event_timestamp`` (microseconds, UTC). Polars is imported by the first such answer.
"""

from __future__ import annotations

from io import BytesIO

import polars as pl

from tiffin.online.read import OnlineColumns, Status
from tiffin.online.response import OnlineResponse

_STATUS = pl.Enum([status.value for status in Status])
_INSTANT = pl.Datetime("us", "UTC")


def stream(columns: OnlineColumns) -> bytes:
    """The bytes of an answer."""
    frame = OnlineResponse(columns).to_polars()
    series = [frame.get_column(name) for name in columns.entities]
    for place, name in enumerate(columns.names):
        series += (
            frame.get_column(name),
            pl.Series(f"{name}@status", columns.statuses[place], dtype=_STATUS),
            pl.Series(f"{name}@event_timestamp", columns.event_times[place], dtype=pl.Int64).cast(_INSTANT),
        )
    target = BytesIO()
    pl.DataFrame(series).write_ipc_stream(target)
    return target.getvalue()
