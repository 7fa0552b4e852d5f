"""Instants: UTC microseconds since 1970, as plain integers, and how they are read and shown.

Inside Tiffin an instant is an ``int``. A naive timestamp given by a caller is read as UTC (semantics, Time). Finer
units are rounded away from the future: times of features up, times of entity rows down.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Final

from tiffin.errors import InvalidArgument

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

Instant = int | datetime | date | str
"""What a caller may give for an instant: microseconds, datetime, date or an ISO 8601 text."""


def now() -> int:
    """The present, in microseconds."""
    return time.time_ns() // 1_000


def to_micros(value: Instant, *, field: str = "timestamp") -> int:
    """Read an instant given by a caller; naive ones are UTC.

    >>> to_micros("2026-09-01T00:00:00Z") == to_micros(datetime(2026, 9, 1))
    True
    """
    if isinstance(value, bool):
        raise _unreadable(value, field)
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _unreadable(value, field) from None
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (aware - EPOCH) // MICROSECOND
    if isinstance(value, date):
        return (datetime(value.year, value.month, value.day, tzinfo=UTC) - EPOCH) // MICROSECOND
    raise _unreadable(value, field)


def to_datetime(micros: int) -> datetime:
    """The instant as an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_iso(micros: int) -> str:
    """RFC 3339 with ``Z``, with a fraction only where there is one.

    >>> to_iso(0)
    '1970-01-01T00:00:00Z'
    """
    return to_datetime(micros).isoformat().replace("+00:00", "Z")


def _unreadable(value: object, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"{field}: {value!r} is not an instant.",
        field=field,
        hint="Give a datetime, a date, an ISO 8601 text such as '2026-09-01T12:00:00Z', or microseconds since 1970.",
    )
