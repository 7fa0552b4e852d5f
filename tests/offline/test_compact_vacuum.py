"""Vacuum: what is out of use goes, what any reader inside the retention needs stays, and what is gone is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from deltalake import write_deltalake

from tests.ingest.lakes import data_files, drivers, live_files, put, rows
from tests.offline.test_compact import newest
from tiffin import clock
from tiffin.data_format import DeltaFormat
from tiffin.errors import InvalidArgument, NotFound, StorageError, Unsupported
from tiffin.offline import lake, polars
from tiffin.offline.area import AREA, Area
from tiffin.offline.base import Window
from tiffin.offline.clean_up import clean_up
from tiffin.offline.compact import compact
from tiffin.offline.delta import open_table
from tiffin.offline.footers import storage_errors
from tiffin.offline.source import file_source, open_source
from tiffin.offline.vacuum import vacuum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table whose three files were merged."""
    place = tmp_path / "lake"
    for number in range(3):
        put(drivers(place, partition=""), rows(1, first=number), tmp_path)
    compact(str(place), "datetime")
    return place


def keys(folder: Path, **options: int) -> list[int]:
    return sorted(open_source(drivers(folder, partition=""), **options).collect()["driver_id"])


def test_files_stay_for_the_retention(folder: Path) -> None:
    assert vacuum(str(folder)).removed == 0
    assert vacuum(str(folder), retention_s=60).removed == 0
    assert len(data_files(folder)) == 4
    assert keys(folder, version=2) == [1001, 1002]


def test_what_is_out_of_use_goes(folder: Path) -> None:
    assert vacuum(str(folder), retention_s=0, dry_run=True).removed == 3
    assert len(data_files(folder)) == 4
    done = vacuum(str(folder), retention_s=0)
    assert (done.floor, done.removed) == (4, 3)
    assert done.bytes > 0
    assert data_files(folder) == live_files(folder)
    assert keys(folder) == [1001, 1002, 1003]
    assert vacuum(str(folder), retention_s=0).removed == 0


def test_a_version_that_is_gone_is_told(folder: Path) -> None:
    vacuum(str(folder), retention_s=0)
    with pytest.raises(NotFound, match=r"Version 2 of .* its files were vacuumed"):
        keys(folder, version=2)
    pinned = drivers(folder, partition="", file_format=DeltaFormat(2))
    with pytest.raises(NotFound, match="vacuumed"):
        lake.snapshot(file_source(pinned))


def test_what_was_known_can_be_told_for_ever(folder: Path) -> None:
    home = folder.parent
    instants = [clock.now()]
    for number in range(10, 13):
        put(drivers(folder, partition=""), rows(1, first=number), home)
        instants.append(clock.now())
    compact(str(folder), "datetime")
    before = [keys(folder, known_at=instant) for instant in instants]
    vacuum(str(folder), retention_s=0)
    assert [keys(folder, known_at=instant) for instant in instants] == before
    assert [len(known) for known in before] == [3, 4, 5, 6]
    put(drivers(folder, partition=""), rows(1, first=20), home)
    assert [keys(folder, known_at=instant) for instant in instants] == before


def test_rows_that_others_wrote_since_are_not_guessed_at(folder: Path) -> None:
    instant = clock.now()
    write_deltalake(folder, rows(1, first=30), mode="append", schema_mode="merge")
    put(drivers(folder, partition=""), rows(1, first=31), folder.parent)
    vacuum(str(folder), retention_s=0)
    with pytest.raises(Unsupported, match="others have written"):
        keys(folder, known_at=instant)


def test_pinned_versions_are_kept(folder: Path) -> None:
    assert vacuum(str(folder), retention_s=0, keep_versions=[2]).removed == 1
    assert keys(folder, version=2) == [1001, 1002]
    with pytest.raises(NotFound):
        keys(folder, version=3)
    # Once given up, a version does not come back.
    vacuum(str(folder), retention_s=0)
    vacuum(str(folder), retention_s=0, keep_versions=[2])
    with pytest.raises(NotFound):
        keys(folder, version=2)


def test_files_that_came_and_went_within_the_retention_stay(folder: Path) -> None:
    time.sleep(0.1)
    begin = time.time()
    time.sleep(0.1)
    put(drivers(folder, partition=""), rows(1, first=7), folder.parent)
    compact(str(folder), "datetime")
    # At the begin of the retention the table was at the first compaction; the batch since then may be read at its
    # version still.
    done = vacuum(str(folder), retention_s=time.time() - begin)
    assert done.removed == 3
    assert keys(folder, version=5) == [1001, 1002, 1003, 1008]


def test_a_batch_that_is_about_to_be_committed_stays(folder: Path) -> None:
    with Area(str(folder)) as area:
        path = f"part-{area.token}-0.parquet"
        area.save(memoryview(live_files(folder)[0].read_bytes()), path)
        area.publish(4)
        assert vacuum(str(folder), retention_s=0).removed == 3
        assert (folder / path).exists()


def test_unknown_files_go_only_with_age(folder: Path) -> None:
    (folder / "theirs.parquet").write_bytes(b"being written")
    assert vacuum(str(folder), retention_s=0).removed == 3
    assert (folder / "theirs.parquet").exists()
    old = time.time() - 2 * 86_400
    os.utime(folder / "theirs.parquet", (old, old))
    assert vacuum(str(folder), retention_s=0).removed == 1


def test_what_is_known_to_be_replaced_goes_at_once(folder: Path) -> None:
    (folder / "erased.parquet").write_bytes(b"a secret")
    assert vacuum(str(folder), retention_s=3_600, replaced=["erased.parquet"]).removed == 1
    assert not (folder / "erased.parquet").exists()


def test_plain_folders_and_mistakes(tmp_path: Path) -> None:
    rows(1).write_parquet(tmp_path / "a.parquet")
    assert vacuum(str(tmp_path), retention_s=0).removed == 0
    assert (tmp_path / "a.parquet").exists()
    with pytest.raises(InvalidArgument, match="negative"):
        vacuum(str(tmp_path), retention_s=-1)


def test_a_reader_goes_on_inside_the_retention_and_is_told_beyond(folder: Path) -> None:
    table = drivers(folder, partition="")
    put(table, rows(1, first=9), folder.parent)
    early = open_source(table)
    compact(str(folder), "datetime")
    vacuum(str(folder), retention_s=60)
    assert early.collect().height == 4
    vacuum(str(folder), retention_s=0)
    with pytest.raises(StorageError, match="vanished while it was read"), storage_errors("demo/drivers"):
        early.collect()


def test_marks_of_versions_that_are_gone_still_follow(folder: Path) -> None:
    table, engine = drivers(folder, partition=""), polars.open_engine()
    before = engine.position(table)
    put(table, rows(1, first=9), folder.parent)
    compact(str(folder), "datetime")
    vacuum(str(folder), retention_s=0)
    assert newest(engine, table, Window(since=before)) == {1010: 9}


def test_a_log_is_cleaned_up(folder: Path) -> None:
    table = drivers(folder, partition="")
    log = folder / "_delta_log"
    old = time.time() - 40 * 86_400
    for path in log.iterdir():
        os.utime(path, (old, old))
    instant = clock.now()
    put(table, rows(1, first=9), folder.parent, idempotency_key="after")
    before = polars.open_engine().position(table)
    clean_up(str(folder), 30 * 86_400)
    assert not (log / f"{2:020}.json").exists()
    assert keys(folder) == [1001, 1002, 1003, 1010]
    assert put(table, rows(1, first=9), folder.parent, idempotency_key="after").already_applied
    assert keys(folder, known_at=clock.now()) == [1001, 1002, 1003, 1010]
    assert polars.open_engine().commits_since(table, before) == 0
    with pytest.raises(Unsupported, match="begins at version"):
        keys(folder, known_at=instant - 86_400_000_000)
    versions = len(list(log.glob("*.json")))
    clean_up(str(folder), 30 * 86_400)
    assert len(list(log.glob("*.json"))) == versions
    clean_up(str(folder.parent / "nowhere"), 60)
    assert (folder / AREA).is_dir()
    assert open_table(str(folder)) is not None
