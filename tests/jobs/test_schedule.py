"""Schedules: what a cron expression and a window mean, in UTC, and what means nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin import clock
from tiffin.errors import InvalidArgument
from tiffin.jobs.schedule import last_time, new_schedule, next_time, read_timespan, show_timespan

HOUR = 3_600_000_000


def at(text: str) -> int:
    return clock.to_micros(text)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/15 * * * *", "2026-11-24T10:00:00Z", "2026-11-24T10:15:00Z"),
        ("*/15 * * * *", "2026-11-24T10:14:59.999999Z", "2026-11-24T10:15:00Z"),
        ("0 2 * * *", "2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"),
        ("0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 * * MON", "2026-11-24T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("*/10 * * * * *", "2026-11-24T00:00:01Z", "2026-11-24T00:00:10Z"),
    ],
)
def test_the_next_time(cron: str, after: str, expected: str) -> None:
    assert clock.to_iso(next_time(cron, at(after))) == expected


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-11-24T10:15:00Z", "2026-11-24T10:15:00Z"),
        ("2026-11-24T10:15:00.000001Z", "2026-11-24T10:15:00Z"),
        ("2026-11-24T10:14:59.999999Z", "2026-11-24T10:00:00Z"),
    ],
)
def test_the_last_time(until: str, expected: str) -> None:
    assert clock.to_iso(last_time("*/15 * * * *", at(until))) == expected


@given(st.integers(0, 4 * 10**15), st.sampled_from(["* * * * *", "*/7 3 * * *", "5 4 1 * *", "0 0 * * SUN"]))
def test_last_and_next_enclose_every_instant(now: int, cron: str) -> None:
    last, following = last_time(cron, now), next_time(cron, now)
    assert last <= now < following
    assert next_time(cron, last) == following
    assert last_time(cron, following) == following


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 * * * *"])
def test_clocks_that_are_changed_in_spring_and_autumn_change_nothing(
    zone: str, cron: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole year of times has one distance, whatever zone the machine is in."""
    monkeypatch.setenv("TZ", zone)
    here = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    now = clock.to_micros(here.astimezone(UTC))
    end = now + 366 * 24 * HOUR
    step = HOUR if cron == "0 * * * *" else 24 * HOUR
    first = now = next_time(cron, now)
    count = 0
    while now < end:
        now, count = next_time(cron, now), count + 1
        assert now == first + count * step


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"])
def test_a_time_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(InvalidArgument, match="cron_schedule") as raised:
        new_schedule("default", "t", cron, 60)
    assert raised.value.field == "cron_schedule"


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "61 * * * *", "* 24 * * *", "@daily", "a b c d e", "*/0 * * * *", "* * * * * * *", "٣ * * * *"],
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        new_schedule("default", "t", cron, 60)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (60, 60),
        (0.5, 0.5),
        ("7200", 7200),
        (" 1.5 ", 1.5),
        ("PT2H", 7200),
        ("P1D", 86_400),
        ("p1dt1h30m5s", 86_400 + 5405),
        ("P2W", 14 * 86_400),
        (timedelta(minutes=5), 300),
    ],
)
def test_lengths(given: object, seconds: float) -> None:
    assert read_timespan(given) == seconds * 1_000_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        *(0, -1, True, None, [1], 10**30, float("nan"), float("inf"), timedelta(0), timedelta(days=-1)),
        *("", "P", "PT", "P1M", "P1Y", "1 day", "PT-5S", "P1DT", "nan", "1e3", "PT0S", "P99999999999999D", "9" * 400),
    ],
)
def test_what_is_no_length_is_refused(given: object) -> None:
    with pytest.raises(InvalidArgument, match="length of a window") as raised:
        read_timespan(given)  # type: ignore[arg-type]
    assert raised.value.field == "ingestion_timespan"


@given(st.integers(1, 10**8))
def test_a_length_that_is_shown_is_read_back(seconds: int) -> None:
    assert read_timespan(show_timespan(seconds * 1_000_000)) == seconds * 1_000_000


def test_a_new_schedule_is_due_at_its_next_time() -> None:
    before = clock.now()
    schedule = new_schedule("default", "t", "  */5  * * *  * ", "P1D", by="me")
    assert (schedule.cron, schedule.timespan, schedule.created_by) == ("*/5 * * * *", 86_400_000_000, "me")
    assert before < schedule.due <= before + 5 * 60_000_000
    assert new_schedule("default", "t", "* * * * *", None).timespan is None
