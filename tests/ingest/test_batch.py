"""ingest: what is stored, seen through the raw files and the JSON of the log."""

from __future__ import annotations

import json
import os
import resource
import signal
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.ingest.lakes import DAY, FEATURES, data_files, drivers, live_files, log, put, rows, stored
from tiffin.control import Control
from tiffin.data_format import DeltaFormat
from tiffin.data_source import BigQuerySource
from tiffin.definitions.expectation import UniqueKeyAndTime
from tiffin.definitions.schema import Column, TableSchema
from tiffin.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    InvalidData,
    JobCancelled,
    StorageError,
    Unsupported,
)
from tiffin.offline import area
from tiffin.types import ValueType


def test_a_batch_is_one_commit_under_date_partitions(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    commit = put(drivers(folder), rows(3), tmp_path)
    assert (commit.version, commit.rows, commit.rejected) == (1, 3, 0)
    assert commit.partitions == ("event_date=2026-09-01",)
    assert [path.parent.name for path in data_files(folder)] == ["event_date=2026-09-01"]
    actions = log(folder)[1]
    assert [key for action in actions for key in action] == ["commitInfo", "add"]
    assert actions[1]["add"]["partitionValues"] == {"event_date": "2026-09-01"}
    frame = pl.read_parquet(data_files(folder)[0], hive_partitioning=False)
    assert dict(frame.schema) == {
        "driver_id": pl.Int64(),
        "datetime": pl.Datetime("us", "UTC"),
        "created": pl.Datetime("us", "UTC"),
        "acc_rate": pl.Float32(),
        "trips": pl.Int32(),
        "_ingested_at": pl.Datetime("us", "UTC"),
        "_row": pl.Int64(),
    }
    assert frame["_row"].to_list() == [0, 1, 2]
    assert frame["_ingested_at"].dt.epoch("us").unique().to_list() == [commit.committed_at]
    assert frame["driver_id"].to_list() == [1001, 1002, 1003]


def test_days_are_those_of_utc_and_the_statistics_bound_event_times(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    late = [datetime(2026, 9, 1, 23, 59, 59, 999_999, UTC), datetime(2026, 9, 2, tzinfo=UTC)]
    zoned = pl.Series(late).dt.convert_time_zone("Asia/Tokyo")
    commit = put(drivers(folder), rows(2, datetime=zoned), tmp_path)
    assert commit.partitions == ("event_date=2026-09-01", "event_date=2026-09-02")
    bounds = [json.loads(action["add"]["stats"]) for action in log(folder)[1] if "add" in action]
    assert [b["minValues"]["datetime"] for b in bounds] == [
        "2026-09-01T23:59:59.999999Z",
        "2026-09-02T00:00:00.000000Z",
    ]
    assert [b["maxValues"]["datetime"] for b in bounds] == [
        "2026-09-01T23:59:59.999999Z",
        "2026-09-02T00:00:00.000000Z",
    ]


def test_instants_of_ingestion_grow_and_are_one_per_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    first = put(drivers(folder), rows(2), tmp_path)
    monkeypatch.setattr("tiffin.clock.now", lambda: first.committed_at - 3_600_000_000)
    second = put(drivers(folder), rows(2), tmp_path)  # the clock went back an hour
    assert second.committed_at > first.committed_at
    assert stored(folder)["_ingested_at"].n_unique() == 2


def test_the_event_date_of_the_caller_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    commit = put(drivers(folder), rows(2, event_date=["1999-01-01", None]), tmp_path)
    assert commit.partitions == ("event_date=2026-09-01",)


def test_without_a_partition_column_files_lie_flat(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    assert put(drivers(folder, partition=""), rows(3), tmp_path).partitions == ()
    assert [path.parent for path in data_files(folder)] == [folder]


def test_undeclared_columns_are_dropped_and_columns_of_expressions_kept(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    features = (Column("share", ValueType.DOUBLE, "trips / total"),)
    put(drivers(folder, features=features), rows(2, total=[4, 8], noise=["a", "b"]), tmp_path)
    frame = stored(folder)
    assert frame.columns == ["driver_id", "datetime", "created", "trips", "total", "_ingested_at", "_row"]
    assert frame["total"].to_list() == [4, 8]


def test_empty_and_wholly_invalid_batches_make_no_commit(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    assert put(drivers(folder), rows(0), tmp_path).version == -1
    nothing_good = put(drivers(folder), rows(2, driver_id=[None, None]), tmp_path, on_invalid="quarantine")
    assert (nothing_good.version, nothing_good.rows, nothing_good.rejected) == (-1, 0, 2)
    assert not (folder / "_delta_log").exists()


def test_a_refused_batch_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    with pytest.raises(InvalidData) as caught:
        put(drivers(folder), rows(3, trips=[1.0, 1.5, float("nan")]), tmp_path)
    assert caught.value.rejected == [
        {
            "row": 1,
            "column": "trips",
            "reason": "a value of type Float64 has no exact reading as INT32",
            "value": "1.5",
        },
        {
            "row": 2,
            "column": "trips",
            "reason": "a value of type Float64 has no exact reading as INT32",
            "value": "nan",
        },
    ]
    assert not folder.exists()
    assert not any((tmp_path / "scratch").iterdir()) if (tmp_path / "scratch").exists() else True


def test_quarantine_sets_bad_rows_aside_as_they_were_given(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    given = rows(4, trips=[1.0, 1.5, 2.0, None], driver_id=[1, None, 3, 4], note=["a", "b", "c", "d"])
    commit = put(drivers(folder), given, tmp_path, on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (3, 1)
    assert stored(folder)["_row"].to_list() == [0, 1, 2]
    dead = pl.read_parquet(Path(commit.dead_letters) / "*.parquet")
    assert Path(commit.dead_letters).is_relative_to(tmp_path / "dead" / "demo" / "drivers")
    assert dead.columns == [*given.columns, "_reason", "_row"]
    assert dead.row(0, named=True) | {"_reason": "", "datetime": None, "created": None} == {
        "driver_id": None,
        "datetime": None,
        "created": None,
        "acc_rate": 0.25,
        "trips": 1.5,
        "note": "b",
        "_reason": "",
        "_row": 1,
    }
    assert "key 'driver_id' is null" in dead["_reason"][0]
    assert "trips" in dead["_reason"][0]


def test_a_key_is_applied_once_however_the_rows_come(tmp_path: Path) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    given = rows(5)
    first = put(table, given, tmp_path, idempotency_key="day 1")
    again = put(table, (part for part in given.iter_slices(2)), tmp_path, idempotency_key="day 1")
    given.write_parquet(tmp_path / "day.parquet")
    from_file = put(table, tmp_path / "day.parquet", tmp_path, idempotency_key="day 1")
    assert [c.already_applied for c in (first, again, from_file)] == [False, True, True]
    assert again == from_file
    assert (again.version, again.rows, again.committed_at, again.partitions) == (
        first.version,
        first.rows,
        first.committed_at,
        first.partitions,
    )
    assert stored(folder).height == 5
    with pytest.raises(Conflict, match="day 1"):
        put(table, given.reverse(), tmp_path, idempotency_key="day 1")
    put(table, given, tmp_path, idempotency_key="day 2")
    assert stored(folder).height == 10


def test_a_key_survives_checkpoints_and_the_clean_up_of_logs(tmp_path: Path) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    put(table, rows(2), tmp_path, idempotency_key="first")
    put(table, rows(2), tmp_path)
    DeltaTable(folder).create_checkpoint()
    for path in sorted((folder / "_delta_log").glob("*.json"))[:-1]:
        path.unlink()
    assert put(table, rows(2), tmp_path, idempotency_key="first").already_applied
    assert DeltaTable(folder).count() == 4


def test_dead_letters_of_a_batch_tried_again_are_there_once(tmp_path: Path) -> None:
    table, bad = drivers(tmp_path / "lake"), rows(3, driver_id=[1, None, 3])
    first = put(table, bad, tmp_path, on_invalid="quarantine", idempotency_key="k")
    again = put(table, bad, tmp_path, on_invalid="quarantine", idempotency_key="k")
    assert first.dead_letters == again.dead_letters
    assert len(list((tmp_path / "dead").rglob("*.parquet"))) == 1


@pytest.mark.parametrize(
    "other",
    [rows(3, driver_id=[1, None, None]), rows(3, driver_id=[None, 1, 3]), rows(3, driver_id=[7, None, 3]), rows(2)],
    ids=["more are bad", "another is bad", "a good one differs", "none is bad"],
)
@pytest.mark.parametrize("on_invalid", ["quarantine", "reject"])
def test_other_content_under_a_used_key_leaves_the_dead_letters_of_the_first(
    tmp_path: Path, other: pl.DataFrame, on_invalid: Any
) -> None:
    table, given = drivers(tmp_path / "lake"), rows(3, driver_id=[1, None, 3])
    put(table, given, tmp_path, on_invalid="quarantine", idempotency_key="k")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises((Conflict, InvalidData)) as refused:
        put(table, other, tmp_path, on_invalid=on_invalid, idempotency_key="k")
    assert isinstance(refused.value, Conflict) or on_invalid == "reject"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    dead = pl.read_parquet(tmp_path / "dead" / "**" / "*.parquet")
    assert dead["_row"].to_list() == [1]
    assert put(table, given, tmp_path, on_invalid="quarantine", idempotency_key="k").already_applied


def test_a_key_whose_batch_had_no_good_row_is_free_for_other_content(tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake")
    first = put(table, rows(2, driver_id=[None, None]), tmp_path, on_invalid="quarantine", idempotency_key="k")
    second = put(table, rows(3, driver_id=[1, None, 3]), tmp_path, on_invalid="quarantine", idempotency_key="k")
    assert (first.version, second.rows) == (-1, 2)
    assert pl.read_parquet(Path(first.dead_letters) / "*.parquet")["_row"].to_list() == [0, 1]
    assert pl.read_parquet(Path(second.dead_letters) / "*.parquet")["_row"].to_list() == [1]


def test_a_feature_added_later_is_null_in_older_files(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    put(drivers(folder, features=FEATURES[:1]), rows(2).drop("trips"), tmp_path)
    put(drivers(folder), rows(2), tmp_path)
    put(drivers(folder, features=FEATURES[:1]), rows(1).drop("trips"), tmp_path)
    assert stored(folder)["trips"].to_list() == [None, None, 0, 1, None]
    assert "trips" in [field.name for field in DeltaTable(folder).schema().fields]


def test_a_stored_type_never_changes_silently(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    put(drivers(folder), rows(2), tmp_path)
    wider = (FEATURES[0], Column("trips", ValueType.INT64, "trips"))
    with pytest.raises(FailedPrecondition, match=r"'trips' is stored as Int32 .* cannot hold the declared Int64"):
        put(drivers(folder, features=wider), rows(2), tmp_path)
    assert len(log(folder)) == 2
    assert sorted(data_files(folder)) == sorted(live_files(folder))


def test_a_narrower_declaration_fits_a_wider_column(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    wide = (Column("acc_rate", ValueType.DOUBLE, "acc_rate"), Column("trips", ValueType.INT64, "trips"))
    put(drivers(folder, features=wide), rows(2), tmp_path)
    put(drivers(folder), rows(2), tmp_path)
    assert stored(folder).schema["trips"] == pl.Int64
    assert stored(folder)["acc_rate"].to_list() == [0.0, 0.25, 0.0, 0.25]


def test_deletions_are_stored_and_null_means_none(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder, deleted="gone")
    put(table, rows(3, gone=[True, None, False]), tmp_path)
    put(table, rows(1), tmp_path)
    assert stored(folder)["gone"].to_list() == [True, False, False, None]
    with pytest.raises(InvalidData, match="cannot become BOOL"):
        put(table, rows(1, gone=[1]), tmp_path)


def test_repeated_keys_and_times_where_they_are_forbidden(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder, expectations=[UniqueKeyAndTime()])
    twice = pl.concat([rows(3), rows(2)])
    with pytest.raises(InvalidData) as caught:
        put(table, twice, tmp_path)
    assert [entry["row"] for entry in caught.value.rejected] == [3, 4]
    commit = put(table, [twice[:2], twice[2:]], tmp_path, on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (3, 2)
    dead = pl.read_parquet(Path(commit.dead_letters) / "*.parquet")
    assert dead["_row"].to_list() == [3, 4]
    assert dead.columns == [*twice.columns, "_reason", "_row"]
    assert "$given" not in stored(folder).columns


@pytest.mark.parametrize("suffix", ["", "/", "/*", "/**"])
def test_a_folder_is_named_with_or_without_its_star(tmp_path: Path, suffix: str) -> None:
    put(drivers(f"{tmp_path / 'lake'}{suffix}"), rows(2), tmp_path)
    assert stored(tmp_path / "lake").height == 2


def test_targets_that_take_no_batches(tmp_path: Path) -> None:
    rows(1).write_parquet(tmp_path / "one.parquet")
    with pytest.raises(InvalidArgument, match="single file"):
        put(drivers(tmp_path / "one.parquet"), rows(1), tmp_path)
    with pytest.raises(InvalidArgument, match="pattern"):
        put(drivers(f"{tmp_path}/*.parquet"), rows(1), tmp_path)
    with pytest.raises(Unsupported, match="pinned to version 3"):
        put(drivers(tmp_path / "lake", file_format=DeltaFormat(3)), rows(1), tmp_path)
    bigquery = TableSchema("demo", "t", (), (), BigQuerySource("ts", "p:d.t"))
    with pytest.raises(Unsupported, match="BigQuerySource"):
        put(bigquery, rows(1), tmp_path)


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="on_invalid"):
        put(drivers(tmp_path / "lake"), rows(1), tmp_path, on_invalid="ignore")
    for key in ("", 7):
        with pytest.raises(InvalidArgument, match="idempotency_key"):
            put(drivers(tmp_path / "lake"), rows(1), tmp_path, idempotency_key=key)


def test_the_event_date_cannot_be_a_feature(tmp_path: Path) -> None:
    features = (Column("day", ValueType.STRING, "event_date"),)
    with pytest.raises(Unsupported, match="date partition column"):
        put(drivers(tmp_path / "lake", features=features), rows(1, event_date=["2026-09-01"]), tmp_path)


def test_a_place_that_is_no_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="Not a directory") as caught:
        put(drivers(tmp_path / "file" / "lake"), rows(1), tmp_path)
    assert caught.value.hint
    with pytest.raises(StorageError, match="Dead letters"):
        put(drivers(tmp_path / "lake"), rows(2, driver_id=[1, None]), tmp_path / "file", on_invalid="quarantine")
    assert not (tmp_path / "lake").exists()


def test_a_full_disk_is_a_storage_error_and_changes_nothing(tmp_path: Path) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    put(table, rows(2), tmp_path)
    before = sorted(folder.rglob("*"))
    many = rows(50_000, datetime=[DAY] * 50_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(StorageError) as caught:
            put(table, many, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "room" in str(caught.value)
    assert sorted(folder.rglob("*")) == before
    put(table, many, tmp_path)
    assert stored(folder).height == 50_002


class _Stopping(Control):
    """Cancels at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.lines: list[tuple[int, Any]] = []

    def check(self) -> None:
        self.looks -= 1
        if self.looks <= 0:
            raise JobCancelled("Stopped.")

    def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
        self.lines.append((done, unit))


@pytest.mark.parametrize("looks", [1, 2, 3, 4])
def test_a_cancelled_batch_leaves_nothing(tmp_path: Path, looks: int) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    put(table, rows(1), tmp_path)
    before = sorted(folder.rglob("*"))
    with pytest.raises(JobCancelled):
        put(table, [rows(2), rows(2)], tmp_path, control=_Stopping(looks))
    assert sorted(folder.rglob("*")) == before


def test_progress_is_told(tmp_path: Path) -> None:
    control = _Stopping(100)
    put(drivers(tmp_path / "lake"), [rows(2), rows(3)], tmp_path, control=control)
    assert control.lines == [(2, "rows read"), (5, "rows read"), (5, "rows")]


def test_large_batches_spill_and_are_cut_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.ingest.spool.Spool.__init__.__kwdefaults__", {"held_bytes": 2_000}, raising=False)
    monkeypatch.setattr("tiffin.offline.parts.CHUNK_BYTES", 3_000)
    folder = tmp_path / "lake"
    frames = [rows(20, first=20 * n) for n in range(20)]
    put(drivers(folder, expectations=[UniqueKeyAndTime()]), iter(frames), tmp_path, idempotency_key="big")
    whole = stored(folder)
    assert whole["_row"].to_list() == list(range(400))
    assert whole["driver_id"].to_list() == [1001 + n for n in range(400)]
    assert put(drivers(folder), pl.concat(frames), tmp_path, idempotency_key="big").already_applied
    assert not list((tmp_path / "scratch").iterdir())


def test_orphans_of_a_crash_are_removed_once_old_and_files_in_use_never(tmp_path: Path) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    put(table, rows(2), tmp_path)
    dead = area.Area(str(folder))
    with dead:
        dead.save(memoryview(b"orphan"), "event_date=2026-09-01/part-orphan.parquet")
        dead.publish(1)
        dead.stake()  # as if killed here
    orphan = folder / "event_date=2026-09-01/part-orphan.parquet"
    put(table, rows(2), tmp_path)
    assert orphan.exists(), "it is too young to be called abandoned"
    long_ago = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    os.utime(folder / area.AREA / dead.token, (long_ago, long_ago))
    living = area.Area(str(folder))
    with living:
        os.utime(folder / area.AREA / living.token, (long_ago, long_ago))
        put(table, rows(2), tmp_path)
        assert (folder / area.AREA / living.token).exists(), "its process lives"
    assert not orphan.exists()
    assert sorted(data_files(folder)) == sorted(live_files(folder))
    assert stored(folder).height == 6


def test_a_crash_after_the_commit_keeps_the_files(tmp_path: Path) -> None:
    folder, table = tmp_path / "lake", drivers(tmp_path / "lake")
    put(table, rows(2), tmp_path)
    token = next(a["commitInfo"]["tiffin.token"] for a in log(folder)[1] if "commitInfo" in a)
    staged = folder / area.AREA / token
    staged.mkdir()
    paths = [str(path.relative_to(folder)) for path in data_files(folder)]
    (staged / "intent.json").write_bytes(msgspec.json.encode(area.Intent(0, tuple(paths))))
    os.utime(staged, (0, 0))
    put(table, rows(2), tmp_path)
    assert not staged.exists()
    assert stored(folder).height == 4


def test_existing_delta_tables_are_appended_to(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    write_deltalake(folder, rows(2).with_columns(region=pl.lit("eu")), partition_by=["region"])
    put(drivers(folder, partition=""), rows(3, region=["eu", "us", None]), tmp_path)
    put(drivers(folder, partition=""), rows(1), tmp_path)
    assert DeltaTable(folder).count() == 6
    parents = sorted(path.parent.name for path in live_files(folder))
    assert parents == ["region=__HIVE_DEFAULT_PARTITION__"] * 2 + ["region=eu"] * 2 + ["region=us"]


def test_a_table_with_rules_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    write_deltalake(folder, rows(2))
    DeltaTable(folder).alter.add_constraint({"positive": "trips >= 0"})
    with pytest.raises(Unsupported, match="requires of its writers"):
        put(drivers(folder, partition=""), rows(1), tmp_path)


def test_a_declared_partition_of_a_flat_table_is_only_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    write_deltalake(folder, rows(2, event_date=[date(2026, 9, 1)] * 2))
    put(drivers(folder), rows(3), tmp_path)
    assert stored(folder).tail(3)["event_date"].to_list() == [DAY.date()] * 3
    assert {path.parent.name for path in live_files(folder)} == {"lake", "event_date=2026-09-01"}
    assert DeltaTable(folder).count() == 5
