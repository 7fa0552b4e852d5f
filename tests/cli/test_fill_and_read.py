"""tiffin ingest, push, materialize, get-historical-features, get-online-features and jobs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import polars as pl
import pytest

from tests.cli.conftest import Tiffin
from tiffin.cli.read import read_keys, read_refs
from tiffin.errors import InvalidArgument

CSV = "data/driver_statistics.csv"


@pytest.fixture
def applied(starter: Path, tiffin: Tiffin) -> Path:
    tiffin("apply")
    return starter


def test_ingest_appends_what_the_file_holds(applied: Path, tiffin: Tiffin) -> None:
    commit = tiffin("ingest", "driver_statistics", CSV, "--json").json
    assert (commit["rows"], commit["rejected"], commit["feature_table"]) == (35, 0, "driver_statistics")
    stored = pl.read_delta("history/driver_statistics")
    assert sorted(stored["rating"].to_list()) == sorted(
        pl.read_csv(CSV, schema_overrides={"rating": pl.Float32})["rating"].to_list()
    )


def test_an_idempotency_key_is_applied_once(applied: Path, tiffin: Tiffin) -> None:
    tiffin("ingest", "driver_statistics", CSV, "--idempotency-key", "week 1")
    assert "had been applied before" in tiffin("ingest", "driver_statistics", CSV, "--idempotency-key", "week 1").out
    assert deltalake.DeltaTable("history/driver_statistics").count() == 35
    other = pl.read_csv(CSV).head(3)
    other.write_csv("other.csv")
    outcome = tiffin("ingest", "driver_statistics", "other.csv", "--idempotency-key", "week 1", "--json", code=1)
    assert outcome.error["code"] == "conflict"


def test_bad_rows_are_refused_or_set_aside(applied: Path, tiffin: Tiffin) -> None:
    lines = Path(CSV).read_text().splitlines()
    lines[2] = ",2024-09-01T00:00:00Z,2024-09-01T00:15:00Z,5,0.5,4.0"
    Path("bad.csv").write_text("\n".join(lines))
    outcome = tiffin("ingest", "driver_statistics", "bad.csv", code=1)
    assert "driver_id" in outcome.err
    assert "row 1" in outcome.err
    assert outcome.out == ""
    assert tiffin("ingest", "driver_statistics", "bad.csv", "--json", code=1).error["rejected"][0]["row"] == 1
    assert not Path("history/driver_statistics/_delta_log").exists()
    shown = tiffin("ingest", "driver_statistics", "bad.csv", "--on-invalid", "quarantine").out
    assert "34 rows" in shown
    assert "1 row set aside" in shown


def test_push_writes_both(applied: Path, tiffin: Tiffin) -> None:
    shown = tiffin("push", "driver_statistics", CSV).out
    assert "35 rows" in shown
    assert "online" in shown
    answer = tiffin("get-online-features", "-f", "trip_completion", "-k", "driver_id=1001", "--json").json
    assert answer["statuses"]["driver_statistics:rating"] == ["PRESENT"]
    assert deltalake.DeltaTable("history/driver_statistics").count() == 35


def test_training_set_for_machines_and_people(filled: Path, tiffin: Tiffin) -> None:
    arguments = ["get-historical-features", "-f", "driver_statistics:rating", "-e", "data/trips.csv"]
    answer = tiffin(*arguments, "-o", "out", "--json").json
    assert answer["rows"] == 12
    assert answer["columns"] == ["driver_id", "event_timestamp", "completed", "driver_statistics__rating"]
    made = pl.read_parquet(Path(answer["output"].removeprefix("file://")) / "part-*.parquet")
    assert made.height == 12
    shown = tiffin(*arguments).out
    assert "driver_statistics" in shown
    assert "… of 12 rows" in shown


def test_known_at_asks_what_was_known(kept: Path, tiffin: Tiffin) -> None:
    arguments = ["get-historical-features", "-f", "trip_completion", "-e", "data/trips.csv", "--json"]
    before = tiffin(*arguments, "--known-at", "2024-09-01T00:00:00Z").json
    frame = pl.read_parquet(Path(before["output"].removeprefix("file://")) / "part-*.parquet")
    assert frame["driver_statistics__rating"].null_count() == 12
    tiffin(*arguments, "--known-at", "row")
    assert "not an instant" in tiffin(*arguments[:-1], "--known-at", "yesterday", code=1).err


def test_online_answer_for_people(kept: Path, tiffin: Tiffin) -> None:
    expected = pl.read_csv(CSV).filter(pl.col("driver_id") == 1001).sort("event_timestamp").tail(1)["rating"].item()
    shown = tiffin("get-online-features", "-f", "trip_completion", "-k", "driver_id=1001,1006").out
    assert f"{expected:g}" in shown
    assert "NOT_FOUND" in shown
    one = tiffin("get-online-features", "-f", "driver_statistics:rating", "-k", "driver_id=1001").out
    assert "driver_id = 1001" in one
    assert re.search(rf"driver_statistics:rating\s+{expected:g}\s+PRESENT\s+2024-09-07T00:00:00Z", one)


def test_online_answer_for_machines(kept: Path, tiffin: Tiffin) -> None:
    answer = tiffin(
        "get-online-features", "-f", "driver_statistics:trips_today", "-k", "driver_id=1006,1001", "--json"
    ).json
    assert answer["values"]["driver_id"] == [1006, 1001]
    assert answer["values"]["driver_statistics:trips_today"][0] is None
    assert answer["statuses"]["driver_statistics:trips_today"] == ["NOT_FOUND", "PRESENT"]
    assert answer["event_timestamps"]["driver_statistics:trips_today"] == [None, "2024-09-07T00:00:00Z"]


def test_materialize_bounds_and_increments(applied: Path, tiffin: Tiffin) -> None:
    tiffin("ingest", "driver_statistics", CSV)
    tiffin("materialize", "driver_statistics", "--start", "2024-09-01", "--end", "2024-09-03")
    read = ["get-online-features", "-f", "driver_statistics:rating", "-k", "driver_id=1001", "--json"]
    assert tiffin(*read).json["event_timestamps"]["driver_statistics:rating"] == ["2024-09-02T00:00:00Z"]
    assert tiffin("materialize", "--incremental", "--json").json["rows_written"] == 5
    assert tiffin(*read).json["event_timestamps"]["driver_statistics:rating"] == ["2024-09-07T00:00:00Z"]
    assert tiffin("materialize", "--incremental", "--json").json["rows_written"] == 0
    outcome = tiffin("materialize", "--incremental", "--start", "2024-09-01", code=1)
    assert outcome.err.endswith("hint: Leave out one of them.\n")


def test_an_empty_project_is_no_mistake(tiffin: Tiffin, home: Path) -> None:
    assert "no feature tables" in tiffin("materialize", "--home", str(home)).out
    assert tiffin("entities", "list", "--home", str(home), "--json").json == []


def test_jobs_tell_what_ran(filled: Path, tiffin: Tiffin) -> None:
    tiffin("get-historical-features", "-f", "trip_completion", "-e", "data/trips.csv")
    jobs = tiffin("jobs", "list", "--json").json
    assert [job["type"] for job in jobs] == ["HISTORICAL_RETRIEVAL", "BATCH_INGESTION"]
    assert {job["status"] for job in jobs} == {"COMPLETED"}
    shown = tiffin("jobs", "list").out
    assert jobs[1]["id"] in shown
    assert "COMPLETED" in shown
    assert "No jobs." in tiffin("jobs", "list", "--running").out
    job = jobs[1]["id"]
    assert tiffin("jobs", "show", job, "--json").json == jobs[1]
    assert "5 rows" in tiffin("jobs", "show", job).out
    assert tiffin("jobs", "logs", job, "--json").json["id"] == job
    tiffin("jobs", "logs", job)
    assert "had ended already" in tiffin("jobs", "cancel", job).out
    assert tiffin("jobs", "show", "nosuch", "--json", code=1).error["code"] == "not_found"


def test_rows_of_the_future_stay_out(applied: Path, tiffin: Tiffin) -> None:
    later = (datetime.now(tz=UTC) + timedelta(days=2)).isoformat()
    Path("later.csv").write_text(
        "driver_id,event_timestamp,created,trips_today,acceptance_rate,rating\n" + f"1,{later},{later},1,0.5,4.0\n"
    )
    assert "error: " in tiffin("push", "driver_statistics", "later.csv", code=1).err
    tiffin("ingest", "driver_statistics", "later.csv")
    assert tiffin("materialize", "--json").json["rows_written"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ingest", "drivers", CSV], "driver_statistics"),
        (["ingest", "driver_statistics", "missing.csv"], "missing.csv"),
        (["ingest", "driver_statistics", "data/trips.csv"], "trips_today"),
        (["get-historical-features", "-f", "driver_statistics:ratng", "-e", "data/trips.csv"], "rating"),
        (["get-historical-features", "-f", "trip_completion", "-e", "missing.parquet"], "missing.parquet"),
        (["get-historical-features", "-f", "trip_completion,a:b", "-e", "data/trips.csv"], "trip_completion"),
        (["get-online-features", "-f", "trip_completion", "-k", "driver=1"], "driver_id"),
        (["get-online-features", "-f", "trip_completion", "-k", "driver_id=1.5"], "1.5"),
        (["get-online-features", "-f", "trip_completion", "-k", "driver_id"], "driver_id"),
        (["get-online-features", "-f", "trip_completon", "-k", "driver_id=1"], "trip_completion"),
        (["get-online-features", "-f", "driver_statistics", "-k", "driver_id=1"], "driver_statistics"),
        (["materialize", "drivers"], "driver_statistics"),
        (["materialize", "--start", "noon"], "noon"),
        (["jobs", "cancel", "nosuch"], "nosuch"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_what_to_do(
    arguments: list[str], says: str, kept: Path, tiffin: Tiffin
) -> None:
    outcome = tiffin(*arguments, code=1)
    first, *rest = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert says in outcome.err
    assert rest[-1].startswith("hint: "), outcome.err
    assert outcome.out == ""
    machine = tiffin(*arguments, "--json", code=1)
    assert machine.out == ""
    assert machine.error["message"] == first.removeprefix("error: ")
    assert machine.error["hint"] == rest[-1].removeprefix("hint: ")


def test_a_file_that_is_not_what_its_name_says(kept: Path, tiffin: Tiffin, tmp_path: Path) -> None:
    (tmp_path / "fake.parquet").write_text("no Parquet")
    outcome = tiffin("ingest", "driver_statistics", str(tmp_path / "fake.parquet"), code=1)
    assert "cannot be read as Parquet" in outcome.err
    assert len(outcome.err.splitlines()) <= 2


def test_references_and_keys_are_read() -> None:
    assert read_refs(["a:b,a:c", "d:e"]) == ["a:b", "a:c", "d:e"]
    assert read_refs(["service"]) == "service"
    assert read_keys(["driver_id=1,2", "zone=north"]) == [
        {"driver_id": "1", "zone": "north"},
        {"driver_id": "2", "zone": "north"},
    ]
    assert read_keys(['name="a, b",c']) == [{"name": "a, b"}, {"name": "c"}]
    assert read_keys(["k=1", "k=2"]) == [{"k": "1"}, {"k": "2"}]
    with pytest.raises(InvalidArgument, match="another entity"):
        read_keys(["a=1,2", "b=1,2,3"])
    with pytest.raises(InvalidArgument):
        read_refs(["service", "a:b"])
