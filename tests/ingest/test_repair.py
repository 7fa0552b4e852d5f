"""What a crash cut off is finished, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from tests.ingest.lakes import log
from tests.ingest.routes import ID, SECOND, THEN, Breaking, Crashed, Ground, rows
from tiffin.commit import Commit
from tiffin.ingest import marks
from tiffin.ingest.materialize import Route, materialize, materialize_incremental
from tiffin.ingest.push import UNSETTLED, push
from tiffin.ingest.repair import finish_pushes, finish_runs, is_settled
from tiffin.offline.commit_log import PUSH
from tiffin.offline.polars import PolarsEngine


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def pushed(ground: Ground, frame: pl.DataFrame, **options: Any) -> Commit:
    return push(ground.route, ground.table, frame, max_skew=60 * SECOND, **ground.places, **options)


def cut_off(ground: Ground, frame: pl.DataFrame, *, at: int = 1, after: bool = False) -> None:
    """A push whose process ends at the n-th call that changes the online store."""
    broken = replace(ground.route, store=Breaking(ground.store, at, after=after))
    with pytest.raises(Crashed):
        push(broken, ground.table, frame, max_skew=60 * SECOND, **ground.places)


def versions(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def test_a_commit_says_whether_it_is_a_push(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    ground.ingest(rows((2, THEN, 2)))
    noted = [action["commitInfo"].get(PUSH) for actions in log(ground.folder / "history") for action in actions[:1]]
    assert [str(each) if each else None for each in noted] == [None, "1", None]


def test_a_push_that_was_cut_off_is_finished_once(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    cut_off(ground, rows((2, THEN, 2), (3, THEN, 3)))
    assert ground.stored() == {1: THEN}
    assert not is_settled(ground.route, ground.table)
    [commit] = finish_pushes(ground.route, ground.table)
    assert (commit.version, commit.rows, commit.feature_table) == (2, 2, "t")
    assert ground.read(1, 2, 3) == [1, 2, 3]
    assert is_settled(ground.route, ground.table)
    assert finish_pushes(ground.route, ground.table) == []


def test_the_first_push_of_all(ground: Ground) -> None:
    cut_off(ground, rows((1, THEN, 1)))
    assert ground.stored() == {}
    assert versions(finish_pushes(ground.route, ground.table)) == [1]
    assert ground.stored() == {1: THEN}
    assert finish_pushes(ground.route, ground.table) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 8))
def test_wherever_it_is_cut_off(ground: Ground, at: int, after: bool) -> None:
    pushed(ground, rows((1, THEN, 1)))
    try:
        cut_off(ground, rows((1, THEN + 1, 11), (2, THEN, 2)), at=at, after=after)
    except pytest.fail.Exception:
        assert at > 2, "a push changes the store twice at least"
    first = finish_pushes(ground.route, ground.table)
    assert ground.read(1, 2) == [11, 2]
    assert len(first) <= 1
    # And repairing may be cut off as well.
    cut_off(ground, rows((3, THEN, 3)))
    broken = replace(ground.route, store=Breaking(ground.store, at, after=after))
    try:
        finish_pushes(broken, ground.table)
    except Crashed:
        finish_pushes(ground.route, ground.table)
    assert ground.read(1, 2, 3) == [11, 2, 3]
    assert is_settled(ground.route, ground.table)


def test_what_was_only_ingested_waits(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    ground.ingest(rows((1, THEN + 5, 15), (7, THEN, 7)))
    cut_off(ground, rows((2, THEN, 2)))
    ground.ingest(rows((2, THEN + 5, 25), (8, THEN, 8)))
    cut_off(ground, rows((3, THEN, 3)))
    assert versions(finish_pushes(ground.route, ground.table)) == [3, 5]
    assert ground.stored() == {1: THEN, 2: THEN, 3: THEN}
    assert materialize_incremental(ground.route, ground.table).written == 5
    assert ground.read(1, 2, 3, 7, 8) == [15, 25, 3, 7, 8]


def test_pushes_that_end_out_of_order(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    cut_off(ground, rows((2, THEN, 2)))
    pushed(ground, rows((3, THEN, 3)))
    pushed(ground, rows((4, THEN, 4)))
    assert ground.stored() == {1: THEN, 3: THEN, 4: THEN}
    assert versions(finish_pushes(ground.route, ground.table)) == [2]
    assert ground.read(2) == [2]


def test_a_push_that_nobody_finished_does_not_make_the_mark_grow(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    cut_off(ground, rows((2, THEN, 2)))
    for number in range(UNSETTLED - 1):
        pushed(ground, rows((3, THEN + number, number)))
    assert ground.stored() == {1: THEN, 3: THEN + UNSETTLED - 2}
    pushed(ground, rows((4, THEN, 4)))
    assert ground.read(2) == [2]
    mark = marks.read(ground.store, ground.table)
    assert mark is not None
    assert mark.settled is not None
    assert mark.settled.beyond == ()


def test_a_materialisation_covers_the_pushes_before_it(ground: Ground) -> None:
    cut_off(ground, rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    assert is_settled(ground.route, ground.table)
    assert finish_pushes(ground.route, ground.table) == []


def test_a_materialisation_forgets_no_push_after_it(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    materialize_incremental(ground.route, ground.table)
    cut_off(ground, rows((2, THEN, 2)))
    pushed(ground, rows((3, THEN, 3)))
    base = marks.read(ground.store, ground.table)
    assert base is not None
    assert base.position is not None
    # A run that looked before the pushes ends after them.
    marks.advance(ground.store, ground.table, base, marks.reached(ground.table, base.position, None))
    assert versions(finish_pushes(ground.route, ground.table)) == [2]


def test_a_store_that_was_emptied_gets_all_pushes_again(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    pushed(ground, rows((2, THEN, 2)))
    ground.store.drop(ID)
    assert versions(finish_pushes(ground.route, ground.table)) == [1, 2]
    assert ground.read(1, 2) == [1, 2]


def test_a_table_that_was_only_ingested_stays_without_a_mark(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    assert finish_pushes(ground.route, ground.table) == []
    assert marks.read(ground.store, ground.table) is None


def test_a_newer_row_online_is_not_overwritten(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    cut_off(ground, rows((1, THEN + 1, 2)))
    pushed(ground, rows((1, THEN + 2, 3)))
    finish_pushes(ground.route, ground.table)
    assert ground.read(1) == [3]


def test_a_tombstone_that_was_cut_off(ground: Ground) -> None:
    ground.table = replace(ground.table, deleted_column="gone")
    pushed(ground, rows((1, THEN, 1), gone=[False]))
    cut_off(ground, rows((1, THEN + 1, None), gone=[True]))
    assert ground.read(1) == [1]
    finish_pushes(ground.route, ground.table)
    assert ground.stored() == {1: None}


# After the log was rewritten or cleaned up


def test_files_that_were_compacted_since(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    ground.ingest(rows((7, THEN, 7)))
    cut_off(ground, rows((2, THEN, 2)))
    _lake(ground).optimize.compact()
    assert versions(finish_pushes(ground.route, ground.table)) == [3]
    assert ground.stored() == {1: THEN, 2: THEN}


def test_a_log_that_no_longer_tells_what_was_a_push(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    cut_off(ground, rows((2, THEN, 2)))
    ground.ingest(rows((3, THEN, 3)))
    _forget_log(ground)
    assert finish_pushes(ground.route, ground.table) == []  # which versions these were nobody can say
    assert ground.stored() == {1: THEN, 2: THEN, 3: THEN}
    assert is_settled(ground.route, ground.table)


def test_a_log_that_forgot_what_is_settled(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1)))
    pushed(ground, rows((2, THEN, 2)))
    finish_pushes(ground.route, ground.table)
    _forget_log(ground)
    cut_off(ground, rows((3, THEN, 3)))
    assert versions(finish_pushes(ground.route, ground.table)) == [3]


def _lake(ground: Ground) -> Any:
    from deltalake import DeltaTable

    return DeltaTable(str(ground.folder / "history"))


def _forget_log(ground: Ground) -> None:
    """As a checkpoint and a clean-up leave it: the newest entry alone."""
    table = _lake(ground)
    table.create_checkpoint()
    for path in sorted((ground.folder / "history" / "_delta_log").glob("*.json"))[:-1]:
        path.unlink()


# Materialisations


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("incremental", [False, True], ids=["window", "incremental"])
def test_a_materialisation_that_was_cut_off_is_done_again(
    ground: Ground, at: int, after: bool, incremental: bool
) -> None:
    ground.ingest(rows((1, THEN, 1), (2, THEN + 9, 2)))
    broken = replace(ground.route, store=Breaking(ground.store, at, after=after))
    try:
        if incremental:
            materialize_incremental(broken, ground.table)
        else:
            materialize(broken, ground.table, start=THEN, end=THEN + 5)
    except Crashed:
        mark = marks.read(ground.store, ground.table)
        begun = 0 if mark is None else len(mark.begun)
        assert finish_runs(ground.route, ground.table) == begun
        if begun == 0 and not ground.stored():
            return  # it had not begun
    expected = {1: THEN, 2: THEN + 9} if incremental else {1: THEN}
    assert ground.stored() == expected
    mark = marks.read(ground.store, ground.table)
    assert mark is not None
    assert mark.begun == ()
    assert finish_runs(ground.route, ground.table) == 0


def test_a_materialisation_that_failed_has_ended(ground: Ground) -> None:
    ground.ingest(rows((1, THEN, 1)))
    other = Route(PolarsEngine(), ground.store)
    for file in (ground.folder / "history").glob("*.parquet"):
        file.write_bytes(b"no Parquet")
    with pytest.raises(Exception, match="history"):
        materialize_incremental(other, ground.table)
    mark = marks.read(ground.store, ground.table)
    assert mark is not None
    assert mark.begun == ()


def test_a_change_of_source_that_was_cut_off_while_the_store_was_emptied(ground: Ground) -> None:
    pushed(ground, rows((1, THEN, 1), (2, THEN, 2)))
    materialize_incremental(ground.route, ground.table)
    old = ground.table
    ground.table = replace(old, source=type(old.source)("at", old.source.file_format, str(ground.folder / "new")))  # type: ignore[call-arg,union-attr]  # a FileSource
    ground.ingest(rows((1, THEN, 5), (3, THEN, 3)))
    for at in range(1, 7):
        broken = replace(ground.route, store=Breaking(ground.store, at, after=True))
        try:
            materialize_incremental(broken, ground.table)
        except Crashed:
            continue
        break
    finish_runs(ground.route, ground.table)
    assert ground.read(1, 2, 3) == [5, None, 3]
