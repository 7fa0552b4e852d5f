"""Erasure: a key leaves every place, whatever looks for it in the bytes of files, and never comes back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.ingest.erasing import (
    KEY,
    MEALS,
    NOW,
    OBJECTS,
    ORDERS,
    RIDES,
    filled,
    history,
    holding,
    orders,
    rides,
    values,
)
from tiffin import Client, Feature, FeatureTable, ValueType, errors
from tiffin.data_format import DeltaFormat, ParquetFormat
from tiffin.definitions.schema import Column
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidArgument, NotFound
from tiffin.ingest.erase import key_series
from tiffin.offline.scrub import scrub


def test_nothing_of_a_key_is_found_in_any_file_afterwards(tmp_path: Path) -> None:
    client = filled(tmp_path)
    before = holding(tmp_path)
    assert {Path(path).parts[0] for path in before} == {"offline", "online", "dead_letters", "historical"}
    report = client.erase("rider", KEY)
    assert report.state == "DONE"
    assert report.removed == {
        "offline rides": 1,
        "offline orders": 2,
        "online rides": 1,
        "online orders": 2,
        "dead letters rides": 1,
        "training sets in home": 1,
    }
    assert report.rows == 8
    assert holding(tmp_path) == []
    client.close()
    assert holding(tmp_path) == []


def test_all_else_stays(tmp_path: Path) -> None:
    client = filled(tmp_path)
    client.erase("rider", KEY)
    assert values(client, KEY, "aa", "bb", "cc", "dd") == [None, 0.0, 2.0, 0.0, 1.0]
    assert history(client) == ["aa", "bb", "cc", "dd"]
    assert client.latest(["orders:note"]).to_polars().select("rider", "meal").rows() == [("aa", 1)]
    assert client.latest(["meals:y"]).to_polars().height == 1
    [letters] = (tmp_path / "dead_letters").rglob("*.parquet")
    assert pl.read_parquet(letters)["rider"].to_list() == ["ee"]
    [training] = (tmp_path / "historical").rglob("*.parquet")
    assert pl.read_parquet(training)["rider"].to_list() == ["aa"]
    # The marks still hold: nothing is written anew, and the store goes on.
    client.push("rides", rides("aa", x=[7.0]).with_columns(event_timestamp=pl.lit(NOW + timedelta(hours=1))))
    assert values(client, "aa") == [7.0]
    client.close()


def test_every_writer_leaves_the_key_out_and_counts_it(tmp_path: Path) -> None:
    client = filled(tmp_path)
    client.erase("rider", KEY)
    again = client.push("rides", rides("aa", KEY, "bb"), idempotency_key="first")
    assert again.already_applied
    fresh = client.push("rides", rides("aa", KEY, KEY))
    assert (fresh.rows, fresh.erased) == (1, 2)
    assert client.ingest("orders", orders((KEY, 5), ("ff", 5))).erased == 1
    wholly = client.ingest("rides", rides(KEY))
    assert (wholly.rows, wholly.erased) == (0, 1)
    wrong = rides(KEY).with_columns(event_timestamp=pl.lit(None, pl.Datetime("us", "UTC")))
    assert client.ingest("rides", wrong, on_invalid="quarantine").rejected == 1
    client.materialize(["rides", "orders"])
    client.materialize_incremental()
    assert values(client, KEY) == [None]
    assert holding(tmp_path) == []
    client.close()


def test_a_table_that_is_made_later_knows_it_too(tmp_path: Path) -> None:
    client = filled(tmp_path)
    client.erase("rider", KEY)
    later = FeatureTable("later", ["rider"], [Feature("x", ValueType.DOUBLE)])
    client.apply(later)
    with Client(home=str(tmp_path)) as other:
        assert other.push("later", rides(KEY, "aa")).erased == 1
    assert holding(tmp_path) == []
    client.close()


def test_earlier_sources_and_entities_of_a_table_are_reached_and_deleted_tables_too(tmp_path: Path) -> None:
    client = filled(tmp_path / "home")
    moved = FeatureTable(
        "rides",
        ["rider"],
        RIDES.features,
        batch_source=FileSource("event_timestamp", ParquetFormat(), str(tmp_path / "elsewhere")),
    )
    client.apply(moved)
    client.push("rides", rides(KEY, "gg"))
    client.apply(FeatureTable("orders", ["meal"], ORDERS.features), allow_breaking=True)
    client.delete_feature_table("rides", allow_breaking=True)
    report = client.erase("rider", KEY)
    assert report.removed["online orders"] == 2
    assert len([name for name in report.removed if name.startswith("offline rides")]) == 2
    assert holding(tmp_path) == []
    client.close()


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    client = filled(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    told = client.erase("rider", KEY, dry_run=True)
    assert told.state == "DRY_RUN"
    assert told.rows == 8
    assert not told.ids
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {p for p in before if after[p] != before[p]} <= {tmp_path / "online/lock.mdb", tmp_path / "registry.db-shm"}
    assert client.list_erasures() == []
    assert client.erase("rider", KEY).removed == told.removed
    client.close()


def test_several_keys_go_at_once_and_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    client = filled(tmp_path)
    report = client.erase("rider", [KEY, "aa", "nobody"])
    assert report.keys == 3
    assert len(report.ids) == 3
    assert history(client) == ["bb", "cc", "dd"]
    assert client.erase("rider", "nobody").rows == 0
    client.close()


def test_numbers_are_erased_by_value_and_not_as_digits_of_others(tmp_path: Path) -> None:
    client = filled(tmp_path)
    assert client.erase("meal", "1").removed == {
        "offline orders": 2,
        "offline meals": 1,
        "online orders": 2,
        "online meals": 1,
    }
    assert client.latest(["orders:note"]).to_polars().select("rider", "meal").rows() == [(KEY, 2)]
    client.close()


def test_the_record_tells_who_when_and_what_but_never_the_key(tmp_path: Path) -> None:
    client = filled(tmp_path)
    report = client.erase("rider", KEY)
    [record] = client.list_erasures()
    assert record["id"] == report.ids[0]
    assert record["state"] == "DONE"
    assert record["removed"] == report.removed
    assert "@" in record["erased_by"]
    assert KEY not in json.dumps(record)
    again = client.erase("rider", KEY)
    assert again.ids == report.ids
    [record] = client.list_erasures()
    assert record["removed"] == report.removed
    assert len(record["ran"]) == 2
    client.close()


def test_what_no_call_reaches_is_listed(tmp_path: Path) -> None:
    client = filled(tmp_path / "home")
    asked = pl.DataFrame({"rider": [KEY], "event_timestamp": [NOW]})
    client.get_historical_features(["rides:x"], asked, str(tmp_path / "out")).wait(60)
    pinned = FeatureTable(
        "pinned",
        ["rider"],
        RIDES.features,
        batch_source=FileSource(
            "event_timestamp", DeltaFormat(version=1), str(tmp_path / "home/offline/default/rides")
        ),
    )
    client.apply(pinned)
    report = client.erase("rider", KEY)
    told = "\n".join(report.not_reached)
    assert f"the training set at {tmp_path / 'out'}" in told
    assert "version 1, which is pinned" in told
    assert "backups" in told
    assert {Path(path).parts[0] for path in holding(tmp_path)} == {"home", "out"}
    assert len(holding(tmp_path / "home")) == 1
    client.close()


def test_a_plain_folder_gets_a_log_only_where_it_holds_the_key(tmp_path: Path) -> None:
    for name, riders in (("with", [KEY, "aa"]), ("without", ["aa"])):
        (tmp_path / name).mkdir()
        rides(*riders).write_parquet(tmp_path / name / "a.parquet")
    client = Client(home=str(tmp_path / "home"))
    tables = [
        FeatureTable(
            name,
            ["rider"],
            RIDES.features,
            batch_source=FileSource("event_timestamp", ParquetFormat(), str(tmp_path / name)),
        )
        for name in ("with", "without")
    ]
    client.apply([OBJECTS[0], *tables])
    assert client.erase("rider", KEY).removed == {"offline with": 1}
    assert not (tmp_path / "without" / "_delta_log").exists()
    assert pl.read_delta(str(tmp_path / "with"))["rider"].to_list() == ["aa"]
    assert holding(tmp_path) == []
    client.close()


def test_a_single_file_and_a_pattern_are_told_and_left(tmp_path: Path) -> None:
    rides(KEY).write_parquet(tmp_path / "a.parquet")
    client = Client(home=str(tmp_path / "home"))
    one = FileSource("event_timestamp", ParquetFormat(), str(tmp_path / "a.parquet"))
    client.apply([OBJECTS[0], FeatureTable("one", ["rider"], RIDES.features, batch_source=one)])
    report = client.erase("rider", KEY)
    assert report.state == "DONE"
    assert any("offline one" in line for line in report.not_reached)
    client.close()


def test_statistics_of_the_log_and_of_its_checkpoints_lose_the_key(tmp_path: Path) -> None:
    client = filled(tmp_path)
    place = tmp_path / "offline/default/rides"
    DeltaTable(str(place)).create_checkpoint()
    assert KEY in str(pl.read_parquet(next((place / "_delta_log").glob("*.checkpoint.parquet")))["add"].to_list())
    client.erase("rider", KEY)
    assert holding(tmp_path) == []
    assert list((place / "_delta_log").glob("*.checkpoint.parquet"))
    whole = DeltaTable(str(place))
    assert sorted(whole.to_pyarrow_table()["rider"].to_pylist()) == ["aa", "bb", "cc", "dd"]
    # A reader that begins at the checkpoint finds the table as it is.
    for version in range(whole.version()):
        assert DeltaTable(str(place), version=version).version() == version
    assert scrub(str(place), "rider", lambda bounds: KEY in bounds) == 0
    client.close()


def test_wrong_calls_say_what_is_wrong(tmp_path: Path) -> None:
    client = filled(tmp_path)
    with pytest.raises(NotFound, match="rider"):
        client.erase("ryder", KEY)
    with pytest.raises(InvalidArgument, match="meal"):
        client.erase("meal", "one")
    with pytest.raises(InvalidArgument):
        client.erase("rider", None)
    with pytest.raises(InvalidArgument):
        client.erase("rider", [])
    with pytest.raises(errors.NotFound):
        client.erase("rider", KEY, "nowhere")
    assert client.list_erasures() == []
    client.close()


@pytest.mark.parametrize(
    ("dtype", "given", "kept"),
    [
        (ValueType.INT64, ["7", 7, 7.0], [7]),
        (ValueType.STRING, ["7", "seven"], ["7", "seven"]),
        (ValueType.BYTES, [b"\x00a"], [b"\x00a"]),
        (ValueType.BOOL, ["true", True], [True]),
        (ValueType.UNIX_TIMESTAMP, [NOW.replace(microsecond=0)], [NOW.replace(microsecond=0)]),
    ],
)
def test_keys_are_read_in_the_type_of_the_entity(dtype: ValueType, given: list[object], kept: list[object]) -> None:
    assert key_series(Column("k", dtype, "k"), given).to_list() == kept


def test_meals_are_another_table() -> None:
    assert MEALS.entities == ["meal"]
