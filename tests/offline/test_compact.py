"""Compaction: fewer files, the same answers; which files are chosen, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.ingest.lakes import DAY, FEATURES, drivers, live_files, log, put, rows, stored
from tiffin import clock
from tiffin.control import UNWATCHED
from tiffin.definitions.schema import TableSchema
from tiffin.offline import compact as module
from tiffin.offline import lake, memory, polars
from tiffin.offline.base import OfflineEngine, Position, Window
from tiffin.offline.compact import compact
from tiffin.offline.rewrite import LiveFile
from tiffin.offline.rewrite import live_files as live_files_of
from tiffin.offline.source import file_source, open_source

ENGINES = {"memory": memory.open_engine, "polars": polars.open_engine}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> OfflineEngine:
    return ENGINES[request.param]()


def newest(engine: OfflineEngine, table: TableSchema, window: Window | None = None) -> dict[int, int]:
    """The trips of each driver whose row a scan hands out."""
    frames = engine.latest(table, window or Window(), memory_budget=None, control=UNWATCHED)
    return dict(pl.concat(frames).select("driver_id", "trips").rows())


def several(table: TableSchema, home: Path, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        put(table, rows(2, first=number), home)


def test_small_files_become_one_of_each_partition(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder)
    several(table, tmp_path, 6)
    before, files = stored(folder), len(live_files(folder))
    done = compact(str(folder), "datetime")
    assert (done.files, done.removed, done.rows) == (files, files, 12)
    days = {path.parent.name for path in live_files(folder)}
    assert len(live_files(folder)) == done.added == len(days) > 1
    assert stored(folder).equals(before)
    assert compact(str(folder), "datetime").removed == 0


def test_rows_are_sorted_by_event_time_for_pruning(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder, partition="")
    put(table, rows(2, first=5), tmp_path)
    put(table, rows(2, first=0), tmp_path)
    compact(str(folder), "datetime")
    (file,) = lake.snapshot(file_source(table)).files
    assert pl.read_parquet(file.path)["datetime"].is_sorted()
    assert (file.event_min, file.event_max) == (
        clock.to_micros(DAY),
        clock.to_micros(DAY + timedelta(hours=60)) + 999,
    )


def test_the_winner_stays_the_same(engine: OfflineEngine, tmp_path: Path) -> None:
    """Of rows with equal times the later commit wins, and in a commit the later row: both are in the rank."""
    folder = tmp_path / "lake"
    table = drivers(folder, partition="")
    for trips in (7, 9, 8):
        batch = pl.concat([rows(1, trips=[trips]), rows(1, trips=[trips * 10])])
        put(table, batch, tmp_path)
    assert newest(engine, table) == {1001: 80}
    compact(str(folder), "datetime")
    assert len(live_files(folder)) == 1
    assert newest(engine, table) == {1001: 80}


def test_what_is_new_stays_new_and_what_is_old_stays_old(engine: OfflineEngine, tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake", partition="")
    several(table, tmp_path, 3)
    before = engine.position(table)
    put(table, rows(1, first=50), tmp_path)
    between = engine.position(table)
    compact(str(tmp_path / "lake"), "datetime")
    after = engine.position(table)
    assert newest(engine, table, Window(since=before)) == {1051: 50}
    assert newest(engine, table, Window(since=between)) == {}
    assert (engine.commits_since(table, before), engine.commits_since(table, between)) == (1, 0)
    put(table, rows(1, first=60), tmp_path)
    compact(str(tmp_path / "lake"), "datetime")
    assert newest(engine, table, Window(since=before)) == {1051: 50, 1061: 60}
    assert newest(engine, table, Window(since=after)) == {1061: 60}
    assert newest(engine, table, Window(since=Position("elsewhere"))).keys() >= {1001, 1051, 1061}


def test_a_compacted_file_without_news_is_not_opened(tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake", partition="")
    several(table, tmp_path, 3)
    before = polars.open_engine().position(table)
    compact(str(tmp_path / "lake"), "datetime")
    for path in live_files(tmp_path / "lake"):
        path.write_bytes(b"broken")
    put(table, rows(1, first=50), tmp_path)
    assert newest(polars.open_engine(), table, Window(since=before)) == {1051: 50}


def test_pending_rows_in_compacted_files_come_when_they_are_due(engine: OfflineEngine, tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake", partition="")
    put(table, rows(1, datetime=[DAY + timedelta(days=5)]), tmp_path)
    before = engine.position(table)
    put(table, rows(1, first=50), tmp_path)
    compact(str(tmp_path / "lake"), "datetime")
    due = clock.to_micros(DAY + timedelta(days=5))
    assert newest(engine, table, Window(since=before, revisit_from=due)) == {1001: 0, 1051: 50}


def test_the_rows_of_chosen_commits_are_found(engine: OfflineEngine, tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake", partition="")
    done = [put(table, rows(1, first=number), tmp_path) for number in range(4)]
    compact(str(tmp_path / "lake"), "datetime")
    assert newest(engine, table, Window(commits=(done[1].committed_at, done[3].committed_at))) == {1002: 1, 1004: 3}


def test_what_was_known_at_an_instant_can_still_be_told(tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake", partition="")
    put(table, rows(1), tmp_path)
    instant = clock.now()
    put(table, rows(1, first=1), tmp_path)
    compact(str(tmp_path / "lake"), "datetime")
    put(table, rows(1, first=2), tmp_path)
    assert open_source(table, known_at=instant).collect()["driver_id"].to_list() == [1001]
    assert open_source(table, version=1).collect()["driver_id"].to_list() == [1001]
    assert open_source(table).collect().height == 3


def test_columns_that_came_later_are_null_in_older_rows(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    put(drivers(folder, features=FEATURES[:1], partition=""), rows(2).drop("trips"), tmp_path)
    put(drivers(folder, partition=""), rows(2, first=2), tmp_path)
    compact(str(folder), "datetime")
    assert len(live_files(folder)) == 1
    assert stored(folder)["trips"].to_list() == [None, None, 2, 3]


def test_files_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    for name in "ab":
        rows(1).write_parquet(folder / f"{name}.parquet")
    table = drivers(folder, partition="")
    several(table, tmp_path, 2)
    done = compact(str(folder), "datetime")
    assert (done.files, done.removed, done.unstamped) == (4, 2, 2)
    assert {path.name for path in live_files(folder)} > {"a.parquet", "b.parquet"}


def test_keys_and_offsets_of_batches_survive(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder)
    first = put(table, rows(3), tmp_path, idempotency_key="monday")
    put(table, rows(3, first=5), tmp_path)
    compact(str(folder), "datetime")
    again = put(table, rows(3), tmp_path, idempotency_key="monday")
    assert again.already_applied
    assert (again.version, again.rows, again.partitions) == (first.version, 3, first.partitions)


def test_an_instant_is_never_given_twice(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder, partition="")
    several(table, tmp_path, 3)
    compact(str(folder), "datetime")
    several(table, tmp_path, 3)
    assert stored(folder).group_by("_ingested_at").len()["len"].to_list() == [2] * 6
    said = [entry[0]["commitInfo"]["tiffin.last_ingested_at"] for entry in log(folder)]
    assert said == sorted(said)


def a_file(number: int, size: int, day: str = "d") -> LiveFile:
    return LiveFile(f"{number}.parquet", size, 1, number, {"day": day}, stamped=True)


def chosen(files: Sequence[LiveFile], fan: int) -> list[list[str]]:
    return [[file.path.partition(".")[0] for file in group] for group in module._too_many(files, fan)]


def test_writers_merge_files_of_one_size() -> None:
    large = [a_file(n, 100 << 10) for n in range(2)]
    small = [a_file(n + 10, 1_000) for n in range(3)]
    assert chosen([*large, *small], 4) == []
    assert chosen([*large, *small, a_file(20, 1_000)], 4) == [["10", "11", "12", "20"]]
    assert chosen([*small, *large, *(a_file(n + 20, 100 << 10) for n in range(2))], 4) == [
        ["0", "1", "10", "11", "12", "20", "21"]
    ]


def test_partitions_that_are_written_to_no_more_are_merged_too() -> None:
    files = [a_file(10 * day + n, 1_000, f"day {day}") for day in range(6) for n in range(3)]
    assert chosen(files[:15], 4) == []
    assert len(chosen(files, 4)) == 5  # until half of what is too many is left
    assert chosen([a_file(n, 1_000, f"day {n}") for n in range(40)], 4) == []


def test_packs_are_of_the_size_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    table = drivers(folder, partition="")
    several(table, tmp_path, 8)
    opened = DeltaTable(folder)
    files = live_files_of(str(folder), opened)
    target = 3 * max(file.size for file in files)
    assert [len(pack) for pack in module._packs(str(folder), files, target)] == [3, 3, 2]
    assert [len(pack) for pack in module._packs(str(folder), files[:7], target)] == [3, 3]
    assert len(list(module._within(module._packs(str(folder), files, target), 2 * target))) == 2


def test_the_log_begins_with_what_there_is(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    several(drivers(folder, partition=""), tmp_path, 3)
    done = compact(str(folder), "datetime")
    assert (folder / "_delta_log" / f"{done.version:020}.checkpoint.parquet").exists()
    assert DeltaTable(folder).version() == done.version
