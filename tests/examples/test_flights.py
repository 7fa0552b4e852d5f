"""The flights demo: its features against a slow count by hand, and the whole story on a small sample."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from examples.flights import data, features
from tiffin import FeatureTable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables() -> data.Tables:
    return data.load()


def test_local_clocks_are_read_as_new_york_and_its_neighbours(tables: data.Tables) -> None:
    """``time_hour`` is UTC in the package; taxiing must come out plausible for all flights."""
    flights = tables.flights
    assert flights.height == 336_776
    departed = pl.col("departure") + pl.duration(minutes="dep_delay")
    taxiing = flights.select((pl.col("arrival") - departed).dt.total_minutes() - pl.col("air_time")).to_series()
    assert taxiing.null_count() == 9_430  # cancelled or diverted
    assert taxiing.min() > 0
    assert taxiing.max() < 4 * 60


@pytest.mark.parametrize("carrier", ["UA", "HA", "OO"])
def test_carrier_delays_count_arrivals_strictly_before_the_tick(tables: data.Tables, carrier: str) -> None:
    arrivals = tables.flights.drop_nulls("arr_delay").filter(carrier=carrier)
    ticks = tables.carrier_delays.filter(carrier=carrier)
    for tick in ticks.sample(25, seed=7).iter_rows(named=True):
        end = tick["event_timestamp"]
        window = arrivals.filter(pl.col("arrival") < end, pl.col("arrival") >= end - timedelta(days=1))
        assert tick["arrivals"] == window.height
        assert tick["mean_delay"] == pytest.approx(window["arr_delay"].mean(), rel=1e-5, abs=1e-5)
        assert tick["late_share"] == pytest.approx((window["arr_delay"] > 15).mean(), rel=1e-5)


def test_a_plane_is_known_by_its_arrivals_alone(tables: data.Tables) -> None:
    flights = tables.flights.drop_nulls(["arr_delay", "tailnum"])
    for row in tables.plane_history.sample(50, seed=7).iter_rows(named=True):
        mine = flights.filter(pl.col("tailnum") == row["tailnum"], pl.col("arrival") <= row["event_timestamp"])
        last = mine.sort("arrival").row(-1, named=True)
        assert (row["last_arr_delay"], row["last_dest"]) == (last["arr_delay"], last["dest"])
        week = mine.filter(pl.col("arrival") > row["event_timestamp"] - timedelta(days=7))
        assert row["mean_delay_7d"] == pytest.approx(week["arr_delay"].mean(), rel=1e-4, abs=1e-4)


def test_tables_have_the_declared_columns(tables: data.Tables) -> None:
    for table in (each for each in features.DEFINITIONS if isinstance(each, FeatureTable)):
        frame = getattr(tables, table.name)
        declared = {*table.entities, *(feature.name for feature in table.features)}
        assert declared <= set(frame.columns)
        assert frame.select(*table.entities, "event_timestamp").null_count().row(0) == (0,) * (len(table.entities) + 1)


def test_the_story_on_a_sample(tmp_path: Path) -> None:
    folders = ["--home", str(tmp_path / "home"), "--results", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-m", "examples.flights", "--rows", "30000", *folders],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "120"},
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "30,000 rows asked, 30,000 rows answered" in said
    assert "one by one" in said
    for status in ("PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"):
        assert status in said
    assert "1 written, 1 skipped" in said
    assert "kept to auc>=0.6: area under the curve" in said
    assert "219 predictions" in said
    assert (tmp_path / "results" / "evaluation" / "report.html").is_file()
    weather = pl.read_parquet(tmp_path / "home" / "data" / "weather" / "**" / "*.parquet", hive_partitioning=True)
    assert weather.height == 26_115 + 2
    assert (tmp_path / "home" / "data" / "weather" / "date=2013-02-08").is_dir()
