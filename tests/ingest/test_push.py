"""One batch into both stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from tests.ingest.routes import ID, SECOND, THEN, A, B, Breaking, Crashed, Ground, now_is, rows, table_in
from tiffin import ValueType, clock
from tiffin.commit import Commit
from tiffin.definitions.schema import Column
from tiffin.errors import Conflict, InvalidData
from tiffin.ingest import materialize as module
from tiffin.ingest.materialize import commits_waiting, materialize_incremental
from tiffin.ingest.push import push
from tiffin.online.base import WriteResult

SKEW = 60 * SECOND


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def pushed(ground: Ground, frame: pl.DataFrame, **options: Any) -> Commit:
    return push(ground.route, ground.table, frame, max_skew=SKEW, **ground.places, **options)


def offline(ground: Ground) -> list[Any]:
    """The values of the feature in the files, by a reader that knows no log."""
    files = sorted((ground.folder / "history").glob("*.parquet"))
    return sorted(value for file in files for value in pq.read_table(file)["a"].to_pylist())


def test_both_stores_hold_the_batch(ground: Ground) -> None:
    commit = pushed(ground, rows((1, THEN, 1), (2, THEN, 2), (1, THEN + 1, 3)))
    assert (commit.rows, commit.rejected) == (3, 0)
    assert offline(ground) == [1, 2, 3]
    assert ground.stored() == {1: THEN + 1, 2: THEN}
    assert ground.read(1, 2) == [3, 2]


def test_an_older_event_does_not_overwrite(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    pushed(ground, rows((1, THEN - 1, 2)))
    assert offline(ground) == [1, 2]
    assert ground.read(1) == [1]


def test_a_push_follows_the_mark_so_that_nothing_waits(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    assert commits_waiting(ground.route, ground.table) == 0
    assert materialize_incremental(ground.route, ground.table) == WriteResult(1, 0)  # the first run has no mark yet
    pushed(ground, rows((2, THEN, 2)))
    pushed(ground, rows((3, THEN, 3)))
    assert commits_waiting(ground.route, ground.table) == 0
    assert materialize_incremental(ground.route, ground.table) == WriteResult()


def test_a_push_does_not_hide_what_waits(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    ground.ingest(rows((2, THEN, 2)))
    pushed(ground, rows((3, THEN, 3)))
    assert ground.stored() == {1: THEN, 3: THEN}
    assert commits_waiting(ground.route, ground.table) == 2
    assert materialize_incremental(ground.route, ground.table) == WriteResult(2, 0)
    assert ground.read(1, 2, 3) == [1, 2, 3]


def test_a_push_does_not_forget_what_is_pending(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    ground.ingest(rows((1, now + 3_600 * SECOND, 1)))
    materialize_incremental(ground.route, ground.table)
    pushed(ground, rows((2, THEN, 2)))
    now_is(monkeypatch, now + 3_600 * SECOND)
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1, 2) == [1, 2]


def test_rows_of_the_future_are_refused_but_for_the_skew(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    now_is(monkeypatch, now)
    with pytest.raises(InvalidData, match="row 1, column 'at': the event time lies in the future"):
        pushed(ground, rows((1, THEN, 1), (2, now + SKEW + 1, 2)))
    assert ground.stored() == {}
    pushed(ground, rows((2, now + SKEW, 2)))
    assert ground.stored() == {2: now + SKEW}
    commit = pushed(ground, rows((3, now + SKEW + 1, 3), (4, THEN, 4)), on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (1, 1)
    assert sorted(ground.stored()) == [2, 4]


def test_nothing_valid_writes_nothing(ground: Ground) -> None:
    commit = pushed(ground, rows((None, THEN, 1)), on_invalid="quarantine")
    assert (commit.version, commit.rejected) == (-1, 1)
    assert ground.stored() == {}


def test_a_repeated_push_changes_nothing(ground: Ground) -> None:
    first = pushed(ground, rows((1, THEN, 1)), idempotency_key="x")
    again = pushed(ground, rows((1, THEN, 1)), idempotency_key="x")
    assert again == replace(first, already_applied=True)
    assert offline(ground) == [1]
    with pytest.raises(Conflict):
        pushed(ground, rows((1, THEN, 2)), idempotency_key="x")
    assert ground.read(1) == [1]


@pytest.mark.parametrize("heal", ["repeat", "materialize"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_crash_between_the_stores_is_healed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, at: int, after: bool, heal: str
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    pushed(ground, rows((0, THEN, 0)))
    materialize_incremental(ground.route, ground.table)
    whole = ground.route
    batch = rows(*((key, THEN + 1, key) for key in range(4)))
    ground.route = replace(whole, store=Breaking(ground.store, at, after=after))
    with pytest.raises(Crashed):
        pushed(ground, batch, idempotency_key="x")
    ground.route = whole
    if heal == "repeat":
        assert pushed(ground, batch, idempotency_key="x").already_applied
    else:
        materialize_incremental(ground.route, ground.table)
    assert ground.stored() == dict.fromkeys(range(4), THEN + 1)
    materialize_incremental(ground.route, ground.table)
    assert ground.read(*range(4)) == [0, 1, 2, 3]
    assert len(offline(ground)) == 5


def test_deletions_are_pushed(ground: Ground) -> None:
    ground.table = table_in(ground.folder, deleted_column="gone")
    pushed(ground, rows((1, THEN, 1), gone=[False]))
    pushed(ground, rows((1, THEN + 1, None), gone=[True]))
    assert ground.stored() == {1: None}


def test_a_folder_of_plain_files_may_be_pushed_to(ground: Ground) -> None:
    folder = ground.folder / "history"
    folder.mkdir()
    rows((1, THEN, 1)).write_parquet(folder / "old.parquet")
    materialize_incremental(ground.route, ground.table)
    pushed(ground, rows((2, THEN, 2)))
    assert ground.read(1, 2) == [1, 2]
    assert commits_waiting(ground.route, ground.table) == 0
    materialize_incremental(ground.route, ground.table)
    assert ground.read(1, 2) == [1, 2]


@pytest.mark.parametrize("column", [A, Column("a", ValueType.INT64, "a + 0")], ids=["plain", "expression"])
def test_rows_at_hand_and_rows_read_back_are_the_same_bytes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, column: Column
) -> None:
    ground.table = table_in(ground.folder, features=(column, B))
    frame = rows((1, THEN, 1), (2, THEN, None), (1, THEN, 3), (3, THEN + 1, 4), b=[0.1, float("nan"), -0.0, None])
    commit = pushed(ground, frame, idempotency_key="x")
    at_hand = dict(ground.store.scan(ID))
    ground.store.drop(ID)
    assert pushed(ground, frame, idempotency_key="x").version == commit.version
    assert dict(ground.store.scan(ID)) == at_hand
    assert len(at_hand) == 3
