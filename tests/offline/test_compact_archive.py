"""The archive: a log stays short, and nothing that it told is lost to Tiffin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.ingest.lakes import drivers, put, rows
from tests.offline.test_compact import newest
from tests.offline.test_compact_vacuum import keys
from tiffin import clock
from tiffin.errors import NotFound
from tiffin.offline import archive as module
from tiffin.offline import area, polars
from tiffin.offline.archive import archive, forget
from tiffin.offline.area import Area
from tiffin.offline.attempt import attempt
from tiffin.offline.base import Window
from tiffin.offline.compact import checkpoint, compact
from tiffin.offline.delta import ARCHIVE, LOG, open_table
from tiffin.offline.entries import entries, entry_of
from tiffin.offline.target import stamped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of seven versions with checkpoints at two of them, of which the last three count as recent."""
    monkeypatch.setattr(module, "RECENT", 3)
    monkeypatch.setattr(module, "RECENT_S", -1.0)
    place = tmp_path / "lake"
    for number in range(6):
        put(drivers(place, partition=""), rows(1, first=number), tmp_path, idempotency_key=f"batch {number}")
        if number in (1, 3):
            checkpoint(str(place))
    return place


def hot(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / LOG).glob("*.json"))


def test_old_entries_move_and_are_found(folder: Path) -> None:
    told = list(entries(str(folder), 6))
    assert archive(str(folder)) == 2
    assert hot(folder) == [2, 3, 4, 5, 6]
    assert archive(str(folder)) == 0
    assert list(entries(str(folder), 6)) == told
    assert [entry["version"] for entry in told] == [6, 5, 4, 3, 2, 1, 0]
    assert keys(folder, version=1) == [1001]
    assert keys(folder) == [1001 + n for n in range(6)]
    assert DeltaTable(folder).version() == 6  # as every program sees it
    assert put(drivers(folder, partition=""), rows(1), folder.parent, idempotency_key="batch 0").version == 1


def test_marks_and_instants_of_archived_versions_hold(folder: Path) -> None:
    table, engine = drivers(folder, partition=""), polars.open_engine()
    shutil.rmtree(folder)
    put(table, rows(1), folder.parent)
    before, instant = engine.position(table), clock.now()
    for number in range(1, 8):
        put(table, rows(1, first=number), folder.parent)
    checkpoint(str(folder))
    for number in range(8, 12):
        put(table, rows(1, first=number), folder.parent)
    compact(str(folder), "datetime")
    assert archive(str(folder)) == 8
    assert newest(engine, table, Window(since=before)) == {1001 + n: n for n in range(1, 12)}
    assert engine.commits_since(table, before) == 11
    assert keys(folder, known_at=instant) == [1001]


def test_entries_that_writers_go_by_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Area(str(folder)) as batch:
        batch.publish(1)
        assert archive(str(folder)) == 0
    monkeypatch.setattr(module, "RECENT_S", 300.0)
    assert archive(str(folder)) == 0
    monkeypatch.setattr(module, "RECENT_S", -1.0)
    assert archive(str(folder)) == 2


def test_a_writer_that_was_left_behind_takes_no_old_place(folder: Path) -> None:
    table = open_table(str(folder), 1)
    assert table is not None
    archive(str(folder))
    with Area(str(folder)) as batch:
        assert attempt(str(folder), table, batch, [], stamped(table)) is None
        assert table.version() == 6
        assert attempt(str(folder), table, batch, [], stamped(table)) == 7
    assert hot(folder) == [2, 3, 4, 5, 6, 7]


def test_a_move_that_was_cut_off_is_finished(folder: Path) -> None:
    (folder / ARCHIVE / LOG).mkdir(parents=True)
    (folder / LOG / f"{0:020}.json").rename(folder / ARCHIVE / LOG / f"{0:020}.json")
    assert keys(folder, version=2) == [1001, 1002]
    assert len(list(entries(str(folder), 6))) == 7
    put(drivers(folder, partition=""), rows(1, first=20), folder.parent)
    assert archive(str(folder)) >= 1
    assert len(list(entries(str(folder), 7))) == 8


def test_a_sweep_leaves_the_archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(str(folder))
    monkeypatch.setattr(area, "ABANDONED_AFTER_S", 0.0)
    put(drivers(folder, partition=""), rows(1, first=20), folder.parent)
    assert entry_of(str(folder), 0) is not None


def test_what_is_too_old_is_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 1)
    assert archive(str(folder)) == 4
    forget(str(folder), 3_600)
    assert entry_of(str(folder), 0) is not None
    forget(str(folder), -1)
    assert sorted(path.name for path in (folder / ARCHIVE / LOG).iterdir()) == [
        f"{2:020}.checkpoint.parquet",
        f"{2:020}.json",
        f"{3:020}.json",
    ]
    assert keys(folder, version=3) == [1001, 1002, 1003]
    with pytest.raises(NotFound, match="Version 1 "):
        keys(folder, version=1)


def test_nothing_is_done_where_there_is_no_log(tmp_path: Path) -> None:
    assert archive(str(tmp_path)) == 0
    forget(str(tmp_path), 0)
    assert list(tmp_path.iterdir()) == []
