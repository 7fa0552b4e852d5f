"""From the history to the online store: what travels, what waits, and what a crash or a second run does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from tests.ingest.routes import ID, SECOND, THEN, A, B, Breaking, Crashed, Ground, now_is, rows, table_in
from tiffin import clock
from tiffin.control import Control
from tiffin.data_format import DeltaFormat
from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidArgument, JobCancelled, Unsupported
from tiffin.ingest import marks
from tiffin.ingest import materialize as module
from tiffin.ingest.materialize import Limits, commits_waiting, materialize, materialize_incremental
from tiffin.ingest.push import push
from tiffin.offline.memory import open_engine as open_reference
from tiffin.online.base import TableId, WriteResult

DAY = 86_400 * SECOND


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def test_a_window_includes_its_start_and_excludes_its_end(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN + 1, 2), (3, THEN + 2, 3), (1, THEN - 1, 0)))
    assert materialize(ground.route, ground.table, start=THEN, end=THEN + 2) == WriteResult(2, 0)
    assert ground.stored() == {1: THEN, 2: THEN + 1}
    assert materialize(ground.route, ground.table) == WriteResult(3, 0)
    assert ground.stored() == {1: THEN, 2: THEN + 1, 3: THEN + 2}
    with pytest.raises(InvalidArgument, match="is empty"):
        materialize(ground.route, ground.table, start=THEN, end=THEN)


def test_a_window_that_ends_early_does_not_undo_what_is_newer(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (1, THEN + 5, 2)))
    materialize_incremental(ground.route, ground.table)
    assert materialize(ground.route, ground.table, end=THEN + 1) == WriteResult(0, 1)
    assert ground.read(1) == [2]


def test_only_what_was_committed_since_is_looked_at(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN, 2)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    ground.ingest(rows((3, THEN, 3)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)
    assert ground.read(1, 2, 3) == [1, 2, 3]


def test_a_late_row_arrives_unless_a_greater_rank_is_there(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN, 2)))
    materialize_incremental(ground.route, ground.table)
    ground.ingest(rows((1, THEN - DAY, 9), (3, THEN - DAY, 3)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 1)
    assert ground.read(1, 2, 3) == [1, 2, 3]


def test_an_equal_event_time_goes_to_the_later_commit(ground: Ground) -> None:
    for value in (1, 2):
        ground.ingest(rows((1, THEN, value)))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1) == [2]
    ground.ingest(rows((1, THEN, 3)))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1) == [3]


def test_plain_files_are_followed_by_what_is_new_among_them(ground: Ground) -> None:
    folder = Path(ground.table.source.file_url)  # type: ignore[union-attr]  # a FileSource
    folder.mkdir()
    rows((1, THEN, 1), (2, THEN, 2)).write_parquet(folder / "b.parquet")
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    rows((3, THEN, 3), (1, THEN, 9)).write_parquet(folder / "a.parquet")
    assert commits_waiting(ground.route, ground.table) == 1
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1, 2, 3) == [1, 2, 3]  # of equal ranks the file that sorts last wins, new or not
    # The first ingestion adopts the folder: its files are the same rows as before.
    ground.ingest(rows((4, THEN, 4)))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1, 2, 3, 4) == [1, 2, 3, 4]


def test_a_source_that_is_not_there_yet_is_empty(ground: Ground) -> None:
    assert commits_waiting(ground.route, ground.table) == 0
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    ground.ingest(rows((1, THEN, 1)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)


def test_the_future_stays_out_until_it_has_come(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    ground.ingest(rows((1, THEN, 1), (1, now + DAY, 2), (2, now + 2 * DAY, 3), (3, now + DAY, None)))
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: THEN}
    now_is(monkeypatch, now + DAY - 1)
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    # Another commit in between must not make the run forget what is pending.
    ground.ingest(rows((4, THEN, 4)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)
    now_is(monkeypatch, now + DAY)
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: now + DAY, 3: now + DAY, 4: THEN}
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    now_is(monkeypatch, now + 3 * DAY)
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: now + DAY, 2: now + 2 * DAY, 3: now + DAY, 4: THEN}
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_no_window_reaches_into_the_future(ground: Ground) -> None:
    now = clock.now()
    ground.ingest(rows((1, now - SECOND, 1), (2, now + DAY, 2)))
    materialize(ground.route, ground.table, start=THEN, end=now + 9 * DAY)
    assert ground.stored() == {1: now - SECOND}


def test_deletions_travel_as_tombstones(ground: Ground) -> None:
    ground.table = table_in(ground.folder, deleted_column="gone")
    ground.ingest(rows((1, THEN, 1), (2, THEN, 2), gone=[False, False]))
    materialize_incremental(ground.route, ground.table)
    ground.ingest(rows((1, THEN + 1, None), (2, THEN - 1, None), gone=[True, True]))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 1)
    assert ground.stored() == {1: None, 2: THEN}
    assert ground.read(1, 2) == [None, 2]
    ground.ingest(rows((1, THEN + 2, 7)))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1) == [7]


def test_a_new_feature_is_written_for_rows_of_long_ago(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    ground.table = table_in(ground.folder, features=(A, B))
    ground.ingest(rows((2, THEN, 2), b=[0.5]))
    assert commits_waiting(ground.route, ground.table) > 0
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)
    assert ground.read(1, 2, features=(B,)) == [None, 0.5]


def test_a_feature_that_was_away_comes_back_though_rows_were_written_without_it(ground: Ground) -> None:
    wide = ground.table = table_in(ground.folder, features=(A, B))
    ground.ingest(rows((1, THEN, 1), b=[0.5]))
    materialize_incremental(ground.route, wide)
    assert ground.read(1, features=(B,)) == [0.5]
    materialize(ground.route, table_in(ground.folder))
    assert ground.read(1, features=(B,)) == [None]
    materialize_incremental(ground.route, wide)
    assert ground.read(1, features=(B,)) == [0.5]


def test_a_run_under_an_older_definition_hides_no_feature(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide = table_in(ground.folder), table_in(ground.folder, features=(A, B))
    ground.table = wide
    ground.ingest(rows((1, THEN, 1), b=[0.5]))
    encode = module.encode_frame

    def overtaken(table: TableSchema, number: int, frame: pl.DataFrame, **more: bool) -> list[tuple[bytes, bytes]]:
        if table is narrow:
            materialize_incremental(ground.route, wide)
        return encode(table, number, frame, **more)

    monkeypatch.setattr(module, "encode_frame", overtaken)
    materialize(ground.route, narrow)
    assert ground.read(1, features=(B,)) == [None]
    materialize_incremental(ground.route, wide)
    assert ground.read(1, features=(B,)) == [0.5]


@pytest.mark.parametrize(("before", "after", "again"), [(10, 20, 1), (10, None, 1), (20, 10, 0), (None, 10, 0)])
def test_raising_max_age_clears_the_mark(ground: Ground, before: int | None, after: int | None, again: int) -> None:
    ground.table = table_in(ground.folder, max_age=before)
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    ground.table = table_in(ground.folder, max_age=after)
    assert materialize_incremental(ground.route, ground.table) == WriteResult(again, 0)


def test_rows_older_than_max_age_are_written_and_the_store_is_told_when_to_forget(ground: Ground) -> None:
    ground.table = table_in(ground.folder, max_age=SECOND)
    ground.route = replace(ground.route, limits=Limits(grace=10 * SECOND))
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: THEN}
    assert ground.store.sweep(THEN + 11 * SECOND) == 0
    assert ground.store.sweep(THEN + 11 * SECOND + 1) == 1


def test_another_source_is_taken_from_the_beginning(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    source = replace(ground.table.source, file_url=str(ground.folder / "other"))
    ground.table = table_in(ground.folder, source=source)
    ground.ingest(rows((2, THEN, 2)))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)
    assert ground.read(1, 2) == [None, 2]


def moved(ground: Ground, **changes: str) -> TableSchema:
    """The table with its rows elsewhere, or read by other columns."""
    given = {"file_url": str(ground.folder / "other")} | changes
    return replace(ground.table, source=replace(ground.table.source, **given))


@pytest.mark.parametrize("window", [False, True], ids=["incremental", "window"])
def test_rows_of_the_source_before_do_not_outlive_it(ground: Ground, window: bool) -> None:
    ground.ingest(rows((1, THEN + 9, 1), (2, THEN + 9, 2), (3, THEN + 9, 3)))
    materialize_incremental(ground.route, ground.table)
    ground.table = moved(ground)
    ground.ingest(rows((1, THEN, 10), (2, THEN, None)))
    assert commits_waiting(ground.route, ground.table) == 1
    run = materialize if window else materialize_incremental
    assert run(ground.route, ground.table) == WriteResult(2, 0)
    assert ground.stored() == {1: THEN, 2: THEN}
    assert ground.read(1, 2, 3) == [10, None, None]
    assert materialize_incremental(ground.route, ground.table).skipped == 0
    assert materialize_incremental(ground.route, ground.table) == WriteResult()
    assert ground.stored() == {1: THEN, 2: THEN}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_while_the_source_moves_leaves_no_old_row_behind(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    ground.ingest(rows(*((key, THEN + 9, key) for key in range(5))))
    materialize_incremental(ground.route, ground.table)
    ground.table = moved(ground)
    ground.ingest(rows((0, THEN, 10), (7, THEN, 70)))
    breaking = replace(ground.route, store=Breaking(ground.store, at, after=after))
    with suppress(Crashed):
        materialize_incremental(breaking, ground.table)
    # Whatever is written in between, the next run knows that it must finish.
    push(ground.route, ground.table, rows((8, THEN, 80)), max_skew=0, **ground.places)
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {0: THEN, 7: THEN, 8: THEN}
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_a_run_of_the_definition_before_does_not_bring_old_rows_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.ingest(rows((1, THEN + 9, 1)))
    before, ground.table = ground.table, moved(ground)
    ground.ingest(rows((1, THEN, 10), (2, THEN, 20)))
    scan = module._scan

    def meanwhile(route: module.Route, table: TableSchema, *given: Any) -> WriteResult:
        # A process that has read the older definition goes on, in the middle of the run.
        monkeypatch.setattr(module, "_scan", scan)
        materialize(ground.route, before)
        return scan(route, table, *given)

    materialize_incremental(ground.route, ground.table)
    monkeypatch.setattr(module, "_scan", meanwhile)
    ground.ingest(rows((3, THEN, 30)))
    materialize_incremental(ground.route, ground.table)
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: THEN, 2: THEN, 3: THEN}
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_another_column_of_created_times_ranks_anew(ground: Ground) -> None:
    more = {"made": [clock.to_datetime(THEN + 5)], "noted": [clock.to_datetime(THEN + 1)]}
    ground.table = moved(ground, created_timestamp_column="made")
    ground.ingest(rows((1, THEN, 1), **more))
    materialize_incremental(ground.route, ground.table)
    ground.table = moved(ground, created_timestamp_column="noted")
    ground.ingest(rows((1, THEN, 2), noted=[clock.to_datetime(THEN + 2)]))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1) == [2]


def test_a_table_pinned_to_an_earlier_version_forgets_the_later_rows(ground: Ground) -> None:
    first = ground.ingest(rows((1, THEN, 1)))
    ground.ingest(rows((1, THEN + 1, 2), (2, THEN + 1, 2)))
    materialize_incremental(ground.route, ground.table)
    pinned = replace(ground.table, source=replace(ground.table.source, file_format=DeltaFormat(version=first.version)))
    materialize_incremental(ground.route, pinned)
    assert ground.stored() == {1: THEN}
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == {1: THEN + 1, 2: THEN + 1}


def test_a_folder_that_gets_a_log_is_not_another_source(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(ground.table.source.file_url)
    folder.mkdir()
    rows((1, THEN, 1)).write_parquet(folder / "plain.parquet")
    materialize_incremental(ground.route, ground.table)
    monkeypatch.setattr(ground.store, "delete", None)  # not called
    ground.ingest(rows((2, THEN, 2)))
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1, 2) == [1, 2]


def test_an_emptied_store_is_filled_again(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    ground.store.drop(ID)
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)


def test_a_store_that_is_emptied_during_a_run_does_not_keep_the_mark(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.ingest(rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    ground.ingest(rows((2, THEN, 2)))
    write = ground.store.write

    def write_and_lose(*given: object, **options: object) -> WriteResult:
        result = write(*given, **options)  # type: ignore[arg-type]  # handed through
        ground.store.drop(ID)
        return result

    monkeypatch.setattr(ground.store, "write", write_and_lose)
    materialize_incremental(ground.route, ground.table)
    monkeypatch.undo()
    assert ground.stored() == {}
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_write_costs_nothing_but_time(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    ground.ingest(rows(*((key, THEN, key) for key in range(5))))
    breaking = replace(ground.route, store=Breaking(ground.store, at, after=after))
    for batch in (1, 2):
        try:
            materialize_incremental(breaking, ground.table)
        except Crashed:
            mark = marks.read(ground.store, ground.table)
            held = len(ground.stored())
            assert mark is None or mark.position is None or held >= 5
        ground.ingest(rows(*((key, THEN + batch, key * 10) for key in range(5))))
    materialize_incremental(ground.route, ground.table)
    assert ground.stored() == dict.fromkeys(range(5), THEN + 2)
    assert ground.read(*range(5)) == [0, 10, 20, 30, 40]
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_runs_that_overlap_lose_nothing(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 3)
    failed: list[BaseException] = []

    def follow() -> None:
        try:
            while not done.is_set():
                materialize_incremental(ground.route, ground.table)
        except BaseException as error:  # noqa: BLE001  # handed to the test
            failed.append(error)

    done = threading.Event()
    runners = [threading.Thread(target=follow) for _ in range(3)]
    ground.ingest(rows((0, THEN, 0)))
    for runner in runners:
        runner.start()
    for number in range(1, 9):
        ground.ingest(rows(*((key, THEN + (number * 7 + key) % 11, number) for key in range(10))))
    done.set()
    for runner in runners:
        runner.join()
    assert failed == []
    materialize_incremental(ground.route, ground.table)
    truth = pl.concat(ground.route.engine.latest(ground.table, module.Window(), memory_budget=None, control=Control()))
    assert dict(zip(truth["k"], truth["a"], strict=True)) == dict(zip(range(10), ground.read(*range(10)), strict=True))
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_cancelling_stops_between_two_batches(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    ground.ingest(rows(*((key, THEN, key) for key in range(10))))

    class Impatient(Control):
        seen = 0

        def check(self) -> None:
            if self.seen >= 4:
                raise JobCancelled("enough")

        def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
            self.seen = done

    with pytest.raises(JobCancelled):
        materialize_incremental(ground.route, ground.table, control=Impatient())
    assert len(ground.stored()) == 4
    assert materialize_incremental(ground.route, ground.table) == WriteResult(10, 0)


def test_a_memory_budget_changes_nothing_but_memory(ground: Ground) -> None:
    ground.route = replace(ground.route, limits=Limits(memory_budget=200_000))
    ground.ingest(rows(*((key % 1_000, THEN + key, key) for key in range(20_000))))
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1_000, 0)
    assert ground.read(*range(1_000)) == list(range(19_000, 20_000))


def test_wide_rows_are_written_in_smaller_batches(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 1_000)
    sizes: list[int] = []
    write = ground.store.write

    def counted(table: TableId, given: list[tuple[bytes, bytes]], **options: int | None) -> WriteResult:
        sizes.append(len(given))
        return write(table, given, **options)

    monkeypatch.setattr(ground.store, "write", counted)
    ground.ingest(rows(*((key, THEN, key) for key in range(100))))
    materialize_incremental(ground.route, ground.table)
    assert sum(sizes) == 100
    assert max(sizes) < 40


def test_the_reference_engine_brings_the_same(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN, 2), (1, THEN + 1, None)))
    ground.route = replace(ground.route, engine=open_reference())
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)
    assert ground.read(1, 2) == [None, 2]


def test_windows_are_looked_at_but_do_not_move_the_mark(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    assert commits_waiting(ground.route, ground.table) > 0
    materialize(ground.route, ground.table)
    assert commits_waiting(ground.route, ground.table) == 0
    ground.ingest(rows((2, THEN, 2)))
    assert commits_waiting(ground.route, ground.table) == 1
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)


def test_a_store_without_marks_takes_windows_only(ground: Ground) -> None:
    class Bare:
        def __init__(self) -> None:
            self.ensure, self.write = ground.store.ensure, ground.store.write

    ground.ingest(rows((1, THEN, 1)))
    bare = replace(ground.route, store=Bare())
    assert materialize(bare, ground.table) == WriteResult(1, 0)
    assert commits_waiting(bare, ground.table) == 0
    with pytest.raises(Unsupported, match="Bare keeps no marks"):
        materialize_incremental(bare, ground.table)
