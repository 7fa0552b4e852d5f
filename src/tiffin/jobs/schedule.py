"""Schedule: a table that is materialised again and again, at the times of a cron expression in UTC.

UTC has no summer: ``0 2 * * *`` is at two o'clock of Greenwich all the year, once on every day.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import msgspec

from tiffin import clock
from tiffin.errors import InvalidArgument

#: What a caller may give as the length of a window: seconds, as a number or its text, or an ISO 8601 duration.
Timespan = float | str | timedelta

_SECOND: Final = 1_000_000
#: Years and months have no fixed length, so durations are made of weeks, days, hours, minutes and seconds.
_ISO: Final = re.compile(
    r"P(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)S)?)?"
)
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
#: The longest window: a century. More is a mistake of units.
_LONGEST: Final = 36_525 * 86_400 * _SECOND


class Schedule(msgspec.Struct, frozen=True):
    """One table's schedule. Instants and lengths are UTC microseconds.

    ``timespan`` is the length of the window that each run materialises, which ends when the run is due; None follows
    what was committed since the last run. ``due`` is the next run. ``run_due`` is the last one that was claimed, by the
    job ``run_job``; it covers all that became due since ``run_from``, which is more than one run after an outage.
    """

    project: str
    table: str
    cron: str
    timespan: int | None
    due: int
    created: int = 0
    created_by: str = ""
    run_from: int | None = None
    run_due: int | None = None
    run_job: str | None = None

    @property
    def title(self) -> str:
        """The schedule in words, for messages."""
        return f"the schedule of {self.project}/{self.table}"


def new_schedule(project: str, table: str, cron: str, timespan: Timespan | None, *, by: str = "") -> Schedule:
    """A schedule whose first run is the next time of ``cron``; InvalidArgument where either cannot be read."""
    now = clock.now()
    length = None if timespan is None else read_timespan(timespan)
    return Schedule(project, table, " ".join(cron.split()), length, next_time(cron, now), now, by)


def next_time(cron: str, after: int) -> int:
    """The first time of a cron expression that is later than an instant.

    Five fields (minute, hour, day of month, month, day of week), or six with seconds first. InvalidArgument for one
    that cannot be read, and for one that never comes, such as the 30th of February.
    """
    return _time(cron, after, reverse=False)


def last_time(cron: str, until: int) -> int:
    """The last time of a cron expression that is not later than an instant."""
    return _time(cron, until, reverse=True)


def read_timespan(value: Timespan) -> int:
    """A length in microseconds.

    >>> read_timespan("PT2H") == read_timespan(7200) == read_timespan(timedelta(hours=2))
    True
    """
    length = _length(value)
    if length is None or not 0 < length <= _LONGEST:
        raise InvalidArgument(
            f"ingestion_timespan: {value!r} is not the length of a window.",
            field="ingestion_timespan",
            hint="Give seconds, a timedelta, or an ISO 8601 duration such as 'PT2H' or 'P1D' (no months, no years).",
        )
    return length


def show_timespan(length: int | None) -> str:
    """A length as ISO 8601, or words for what has none.

    >>> show_timespan(93_600_000_000)
    'P1DT2H'
    """
    if length is None:
        return "what was committed"
    days, rest = divmod(length / _SECOND, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    clock_part = "".join(
        f"{number:g}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if number
    )
    return "P" + (f"{days:g}D" if days else "") + (f"T{clock_part}" if clock_part else "")


def _length(value: Timespan) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | timedelta):
        return None
    if isinstance(value, timedelta):
        return value // clock.MICROSECOND
    if isinstance(value, str):
        text = value.strip().upper()
        if not _NUMBER.fullmatch(text):
            return _iso_length(text)
        value = float(text)
    return round(value * _SECOND) if abs(value) <= _LONGEST else None  # NaN is not


def _iso_length(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    given = {unit: int(number) for unit, number in match.groupdict(default="0").items()}
    return timedelta(**given) // clock.MICROSECOND if max(given.values()) < 10**9 else None


def _time(cron: str, at: int, *, reverse: bool) -> int:
    second = clock.to_datetime(at).replace(microsecond=0)
    if reverse:
        second += timedelta(seconds=1)  # so that the second itself counts
    from cronsim import CronSim, CronSimError  # here, since whoever lists jobs needs none of it

    try:
        found = next(CronSim(cron, second, reverse=reverse))
    except CronSimError as error:
        raise _unusable(cron, f"cannot be read: {str(error).lower()}") from None
    except (StopIteration, OverflowError):
        raise _unusable(cron, "never comes") from None
    return clock.to_micros(found)


def _unusable(cron: str, reason: str) -> InvalidArgument:
    return InvalidArgument(
        f"cron_schedule: {cron!r} {reason}.",
        field="cron_schedule",
        hint="Write minute, hour, day of month, month and day of week, in UTC, such as '*/15 * * * *'.",
    )
