"""Adoption: a folder of plain Parquet files takes a log in place, and nothing is rewritten."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.ingest.lakes import data_files, drivers, live_files, log, put, rows, stored
from tiffin.errors import CorruptData, FailedPrecondition, InvalidData, StorageError
from tiffin.offline import lake, target
from tiffin.offline.source import open_source


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.parquet")}


def save(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def test_a_flat_folder_is_adopted_with_its_first_batch(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(3), folder / "old.parquet")
    save(rows(2, first=10), folder / "deeper" / "older.parquet")
    before = contents(folder)
    put(drivers(folder), rows(2, first=20), tmp_path)
    assert {path: seen for path, seen in contents(folder).items() if path in before} == before
    assert sorted(stored(folder)["driver_id"].to_list()) == [1001, 1002, 1003, 1011, 1012, 1021, 1022]
    assert sorted(data_files(folder)) == sorted(live_files(folder))
    assert pl.DataFrame(DeltaTable(folder).get_add_actions(flatten=True))["num_records"].sum() == 7
    files = lake.snapshot(drivers(folder).source).files  # type: ignore[arg-type]  # it is a FileSource
    assert all(file.event_min is not None for file in files)


def test_what_was_known_before_an_adoption_is_known_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(3), folder / "old.parquet")
    source: Any = drivers(folder).source
    long_ago = 1_000
    before = lake.snapshot(source, known_at=long_ago)
    commit = put(drivers(folder), rows(2), tmp_path)
    after = lake.snapshot(source, known_at=long_ago)
    assert [file.path for file in after.files] == [file.path for file in before.files]
    assert len(lake.snapshot(source, known_at=commit.committed_at + 10**9).files) == 2


def test_hive_folders_become_partitions(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(2), folder / "event_date=2026-08-30" / "a.parquet")  # the folder need not be the date of its rows
    save(rows(1), folder / "event_date=__HIVE_DEFAULT_PARTITION__" / "b.parquet")
    put(drivers(folder), rows(1), tmp_path)
    table = DeltaTable(folder)
    assert table.metadata().partition_columns == ["event_date"]
    assert sorted(map(str, pl.DataFrame(table.get_add_actions(flatten=True))["partition.event_date"])) == [
        "2026-08-30",
        "2026-09-01",
        "None",
    ]
    assert [field.type.type for field in table.schema().fields if field.name == "event_date"] == ["date"]


def test_other_hive_folders_are_kept_and_filled_from_the_batch(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(2), folder / "region=eu%2Fwest" / "a b.parquet")
    put(drivers(folder), rows(2, region=["eu/west", "us"]), tmp_path)
    found = lake.snapshot(drivers(folder).source)  # type: ignore[arg-type]  # it is a FileSource
    assert found.partition_columns == ("region",)
    assert sorted(str(file.partition["region"]) for file in found.files) == ["eu/west", "eu/west", "us"]
    assert all(Path(file.path).exists() for file in found.files)
    assert any("event_date=2026-09-01" in file.path for file in found.files)


def test_files_that_differ_a_little_share_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(2), folder / "a.parquet")
    save(rows(2).drop("trips").with_columns(extra=pl.lit("x")), folder / "b.parquet")
    save(
        rows(2).with_columns(pl.col("trips").cast(pl.Int16), pl.col("datetime").dt.cast_time_unit("ns")),
        folder / "c.parquet",
    )
    save(
        rows(2).with_columns(pl.col("datetime").dt.replace_time_zone(None).dt.cast_time_unit("ms")),
        folder / "d.parquet",
    )
    put(drivers(folder), rows(2), tmp_path)
    types = {field.name: field.type.type for field in DeltaTable(folder).schema().fields}
    assert types == {
        "driver_id": "long",
        "datetime": "timestamp",
        "created": "timestamp",
        "acc_rate": "double",
        "trips": "long",
        "extra": "string",
        "_ingested_at": "timestamp",
        "_row": "long",
    }
    assert open_source(drivers(folder)).collect().height == 10


@pytest.mark.parametrize(
    "columns", [{"trips": ["1", "2"]}, {"created": [1.5, 2.5]}, {"driver_id": [[1], [2]]}], ids=lambda c: next(iter(c))
)
def test_files_that_contradict_each_other_are_not_adopted(tmp_path: Path, columns: dict[str, Any]) -> None:
    folder = tmp_path / "lake"
    save(rows(2), folder / "a.parquet")
    save(rows(2, **columns), folder / "b.parquet")
    with pytest.raises(InvalidData, match="in one place and"):
        put(drivers(folder), rows(1), tmp_path)
    assert not (folder / "_delta_log").exists()
    assert len(data_files(folder)) == 2


def test_a_column_that_is_a_folder_elsewhere_is_not_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(1, event_date=[date(2026, 9, 1)]), folder / "a.parquet")
    save(rows(1), folder / "event_date=2026-09-01" / "b.parquet")
    with pytest.raises(FailedPrecondition, match="a folder for some files"):
        put(drivers(folder), rows(1), tmp_path)


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(CorruptData, match=r"broken\.parquet"):
        put(drivers(folder), rows(1), tmp_path)


def test_a_declared_type_that_the_files_cannot_hold_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    save(rows(2).with_columns(pl.col("acc_rate").cast(pl.Int64)), folder / "a.parquet")
    with pytest.raises(FailedPrecondition, match="'acc_rate' is stored as Int64"):
        put(drivers(folder), rows(1), tmp_path)


def test_two_that_adopt_at_once_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lake"
    save(rows(2), folder / "a.parquet")
    adopt = target.adopt

    def slower(*args: Any) -> DeltaTable:
        monkeypatch.setattr(target, "adopt", adopt)
        put(drivers(folder), rows(1, first=10), tmp_path)  # another process is faster
        return adopt(*args)

    monkeypatch.setattr(target, "adopt", slower)
    put(drivers(folder), rows(1, first=20), tmp_path)
    assert sorted(stored(folder)["driver_id"].to_list()) == [1001, 1002, 1011, 1021]
    assert len(log(folder)) == 3


def test_times_finer_than_the_log_stay_inside_its_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    fine = pl.Series([1_788_220_800_000_000_001, 1_788_220_800_000_000_999]).cast(pl.Datetime("ns"))
    save(rows(2, datetime=fine), folder / "a.parquet")
    put(drivers(folder), rows(1, datetime=[datetime(2027, 1, 1, tzinfo=UTC)]), tmp_path)
    first, _ = sorted(lake.snapshot(drivers(folder).source).files, key=lambda f: f.event_min or 0)  # type: ignore[arg-type]  # it is a FileSource
    assert first.event_min is not None
    assert first.event_max is not None
    assert first.event_min <= 1_788_220_800_000_000 < 1_788_220_800_000_001 <= first.event_max


def test_a_location_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        put(drivers(tmp_path / "file" / "deeper"), rows(1), tmp_path)
