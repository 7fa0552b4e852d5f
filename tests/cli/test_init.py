"""tiffin init, and its README followed to the letter."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import TIFFIN, Tiffin, in_own_process


def commands_of(readme: Path) -> list[str]:
    """The commands that a newcomer would type."""
    blocks = re.findall(r"```console\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_readme_leads_from_nothing_to_online_values(tmp_path: Path) -> None:
    assert in_own_process("init", "rides", cwd=tmp_path).code == 0
    place = tmp_path / "rides"
    commands = commands_of(place / "README.md")
    assert len(commands) == 5
    shown = {}
    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == TIFFIN.name
        outcome = in_own_process(*arguments, cwd=place)
        assert outcome.code == 0, f"{line}\n{outcome.out}{outcome.err}"
        shown[arguments[0]] = outcome.out
    assert "3 added" in shown["apply"]
    assert "35 rows" in shown["ingest"]
    assert "12 rows" in shown["get-historical-features"]
    assert "5 rows" in shown["materialize"]
    assert "NOT_FOUND" in shown["get-online-features"]

    # What the training set must hold, worked out here from the same files.
    features = pl.read_csv(place / "data/driver_statistics.csv", try_parse_dates=True)
    trips = pl.read_csv(place / "data/trips.csv", try_parse_dates=True)
    made = pl.read_parquet(place / "training" / "part-*.parquet")
    assert made.height == trips.height
    assert made["driver_id"].to_list() == trips["driver_id"].to_list()
    for row in made.iter_rows(named=True):
        past = features.filter(
            pl.col("driver_id") == row["driver_id"], pl.col("event_timestamp") <= row["event_timestamp"]
        ).sort("event_timestamp")
        expected = past["trips_today"].to_list()[-1:] or [None]
        assert row["driver_statistics__trips_today"] == expected[0]
    assert made["driver_statistics__rating"].null_count() > 0  # a trip before the week, and a driver nobody knows


def test_the_python_of_the_readme_runs(kept: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (kept / "README.md").read_text(), flags=re.DOTALL)
    code = "\n".join(line.removeprefix("  ") for line in code.splitlines())
    code += "\nassert trips.height == 12\nassert drivers['driver_statistics:rating'][0] is not None\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=kept, check=False)
    assert result.returncode == 0, result.stderr


def test_the_store_stays_in_the_project(tmp_path: Path, filled: Path) -> None:
    assert (filled / ".tiffin").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [filled.name]


def test_commands_find_the_project_from_below(kept: Path, tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept / "data")
    assert tiffin("feature-tables", "list", "--json").json[0]["spec"]["name"] == "driver_statistics"
    answer = tiffin("get-historical-features", "-f", "trip_completion", "-e", "trips.csv", "--json").json
    assert answer["rows"] == 12


def test_two_projects_are_the_same_byte_for_byte(tiffin: Tiffin, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    files = tiffin("init", str(first), "--json").json["files"]
    tiffin("init", str(second))
    for file in files:
        name = Path(file).relative_to(first)
        assert Path(file).read_bytes() == (second / name).read_bytes()


def test_nothing_is_overwritten(starter: Path, tiffin: Tiffin) -> None:
    (starter / "features.py").write_text("mine")
    (starter / "data" / "trips.csv").unlink()
    outcome = tiffin("init", ".", code=1)
    assert "features.py" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("hint: ")
    assert (starter / "features.py").read_text() == "mine"
    assert not (starter / "data" / "trips.csv").exists()


def test_a_place_that_cannot_be_written_is_named(tiffin: Tiffin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = tiffin("init", str(tmp_path / "file" / "rides"), "--json", code=1)
    assert outcome.error["code"] == "storage_error"
