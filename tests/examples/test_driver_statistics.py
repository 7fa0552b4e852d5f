"""The article's notebook, run as it stands; its answers are computed again from the data."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "driver_statistics"
FEATURES = ("avg_daily_trips", "conv_rate", "acc_rate", "fare_amount", "sales_status")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("article")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "notebook.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith(("TIFFIN_", "FEAST_"))},
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def history(folder: Path) -> pl.DataFrame:
    """What was ingested, read from the bare files."""
    [bucket] = folder.glob("feast-staging-bucket-*")
    files = sorted((bucket / "test_data" / "driver_statistics").glob("date=*/*.parquet"))
    assert len({file.parent for file in files}) == 30  # a folder a day
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files], how="diagonal_relaxed")


def test_the_history_has_every_row(ran: tuple[Path, str]) -> None:
    rows = history(ran[0])
    assert rows.height == 1_500
    assert rows.select("driver_id", "datetime").n_unique() == 1_500


def test_the_training_set_is_the_latest_row_of_each_moment(ran: tuple[Path, str]) -> None:
    folder, _ = ran
    [bucket] = folder.glob("feast-staging-bucket-*")
    parts = sorted((bucket / "historical").rglob("part-*"))
    assert parts
    training = pl.concat([pl.read_parquet(part) for part in parts])
    asked = pl.read_csv(folder / "feast_data_source" / "data" / "entity.csv", try_parse_dates=True)
    assert training.columns == ["driver_id", "event_timestamp", *(f"driver_statistics__{name}" for name in FEATURES)]
    assert training["driver_id"].to_list() == asked["driver_id"].to_list()
    rows = history(folder).with_columns(pl.col("datetime").dt.cast_time_unit("us"))
    nothing = 0
    for row in training.iter_rows(named=True):
        known = rows.filter(pl.col("driver_id") == row["driver_id"], pl.col("datetime") <= row["event_timestamp"])
        latest = known.sort("datetime").tail(1)
        expected = latest.row(0, named=True) if latest.height else dict.fromkeys(FEATURES)
        assert {name: row[f"driver_statistics__{name}"] for name in FEATURES} == {n: expected[n] for n in FEATURES}
        nothing += not latest.height
    assert 0 < nothing < 40  # a few moments come before all statistics


def test_online_answers_are_the_last_day(ran: tuple[Path, str]) -> None:
    folder, said = ran
    values, statuses = (ast.literal_eval(line) for line in said.splitlines()[-2:])
    last = history(folder).sort("datetime").group_by("driver_id", maintain_order=True).last()
    for position, driver in enumerate((1001, 1002)):
        row = last.row(by_predicate=pl.col("driver_id") == driver, named=True)
        assert [values[f"driver_statistics:{name}"][position] for name in FEATURES] == [row[name] for name in FEATURES]
    assert {found[2] for name, found in statuses.items() if name != "driver_id"} == {"NOT_FOUND"}


def test_nothing_is_written_elsewhere(ran: tuple[Path, str]) -> None:
    assert (ran[0] / ".tiffin" / "registry.db").is_file()
    assert not (EXAMPLE / ".tiffin").exists()
