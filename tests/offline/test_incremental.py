"""Scans of what is new, over tables with a log: new files alone are read, and nothing that is late is missed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from deltalake import DeltaTable, convert_to_deltalake, write_deltalake

from tiffin import clock
from tiffin.definitions.schema import TableSchema
from tiffin.offline import memory, polars
from tiffin.offline.base import OfflineEngine, Window
from tiffin.testing.asking import Asking, Event, day, rows_of
from tiffin.testing.strategies import stamped
from tiffin.types import ValueType

ENGINES = {"memory": memory.open_engine, "polars": polars.open_engine}


class Place(Asking):
    def open(self) -> OfflineEngine:
        return polars.open_engine()


PLACE = Place()


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> OfflineEngine:
    return ENGINES[request.param]()


def commit(table: TableSchema, events: Sequence[Event], at: int | None) -> None:
    """One commit to the table's log, stamped unless ``at`` is None, as another writer's is."""
    rows = rows_of(events, ValueType.INT64)
    rows = rows if at is None else stamped(rows, at)
    write_deltalake(table.source.file_url, rows, mode="append", schema_mode="merge")


def a_table(folder: Path) -> TableSchema:
    return PLACE.history(folder)


def test_new_commits_alone_are_scanned(engine: OfflineEngine, tmp_path: Path) -> None:
    table = a_table(tmp_path)
    commit(table, [(1, day(3), day(3), 1), (2, day(1), None, 2)], day(3))
    before = engine.position(table)
    commit(table, [(1, day(2), day(2), 8), (3, day(2), None, 9)], day(4))
    assert engine.commits_since(table, before) == 1
    assert engine.commits_since(table, None) == 2
    # The late row of driver 1 is handed out: the store knows that it loses.
    assert PLACE.newest(engine, table, Window(since=before)) == {1: 8, 3: 9}
    assert PLACE.newest(engine, table) == {1: 1, 2: 2, 3: 9}


def test_an_older_file_is_not_even_opened(tmp_path: Path) -> None:
    engine, table = polars.open_engine(), a_table(tmp_path)
    commit(table, [(1, day(1), day(1), 1)], day(1))
    before = engine.position(table)
    for path in Path(table.source.file_url).glob("*.parquet"):
        path.write_bytes(b"broken")
    commit(table, [(2, day(2), day(2), 2)], day(2))
    assert PLACE.newest(engine, table, Window(since=before)) == {2: 2}


def test_pending_rows_of_older_commits_come_when_they_are_due(engine: OfflineEngine, tmp_path: Path) -> None:
    table = a_table(tmp_path)
    commit(table, [(1, day(1), None, 1), (1, day(5), None, 2), (2, day(6), None, 3), (3, day(1), None, 4)], day(1))
    before = engine.position(table)
    commit(table, [(4, day(2), None, 5)], day(2))
    window = Window(end=day(5) + 1, since=before, revisit_from=day(5))
    assert PLACE.newest(engine, table, window) == {1: 2, 4: 5}
    assert engine.earliest_event_after(table, day(5)) == day(6)


def test_rows_of_other_writers_are_ranked_among_all_rows_of_their_keys(engine: OfflineEngine, tmp_path: Path) -> None:
    table = a_table(tmp_path)
    commit(table, [(1, day(2), day(2), 1), (2, day(1), None, 2)], None)
    before = engine.position(table)
    commit(table, [(1, day(1), day(1), 8)], None)
    assert PLACE.newest(engine, table, Window(since=before)) == {1: 1}


def test_a_position_before_the_log_still_counts(engine: OfflineEngine, tmp_path: Path) -> None:
    table = PLACE.history(tmp_path, [(1, day(3), None, 1), (2, day(1), None, 2)])
    before = engine.position(table)
    convert_to_deltalake(table.source.file_url)
    assert PLACE.newest(engine, table, Window(since=before)) == {}
    commit(table, [(1, day(2), None, 8), (3, day(1), None, 9)], day(3))
    assert PLACE.newest(engine, table, Window(since=before)) == {1: 1, 3: 9}


def test_a_compaction_changes_nothing_that_is_found(engine: OfflineEngine, tmp_path: Path) -> None:
    table = a_table(tmp_path)
    for number in range(4):
        commit(table, [(1, day(2), day(2), number), (number, day(1), None, 7)], day(number + 1))
    before = PLACE.newest(engine, table)
    assert before == {1: 3, 0: 7, 2: 7, 3: 7}
    DeltaTable(table.source.file_url).optimize.compact()
    assert PLACE.newest(engine, table) == before
    assert PLACE.ask(engine, table, [(1, day(9)), (2, day(1))]) == [3, 7]


def test_known_at_an_instant_does_not_see_later_commits(engine: OfflineEngine, tmp_path: Path) -> None:
    table = a_table(tmp_path)
    commit(table, [(1, day(1), day(1), 1)], day(1))
    log = DeltaTable(table.source.file_url).history()
    between = max(entry["timestamp"] for entry in log) * 1_000
    while clock.now() < between + 2_000:  # logs tell time to the millisecond
        time.sleep(0.001)
    commit(table, [(1, day(2), day(2), 2)], day(2))
    assert PLACE.ask(engine, table, [(1, day(9))]) == [2]
    assert PLACE.ask(engine, table, [(1, day(9))], between) == [1]
    assert PLACE.ask(engine, table, [(1, day(9))], 1) == [None]
