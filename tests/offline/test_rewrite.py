"""Files of a lake replaced by others in one commit: what is kept, what others do meanwhile, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.ingest.lakes import data_files, drivers, live_files, log, put, rows, stored
from tiffin.errors import ConcurrentChange, CorruptData, Unsupported
from tiffin.offline import rewrite as module
from tiffin.offline.delta import open_table
from tiffin.offline.lake import snapshot
from tiffin.offline.rewrite import LiveFile, rewrite, rows_of


def one(files: tuple[LiveFile, ...]) -> Iterable[Sequence[LiveFile]]:
    """All files of a table without partitions, as one group."""
    return [files]


def merged(uri: Path) -> module.Change:
    return lambda group: [pl.concat([rows_of(str(uri), file).collect() for file in group], how="diagonal")]


def without(uri: Path, key: int) -> module.Change:
    return lambda group: [rows_of(str(uri), file).filter(pl.col("driver_id") != key).collect() for file in group]


def each(files: tuple[LiveFile, ...]) -> Iterable[Sequence[LiveFile]]:
    return [[file] for file in files]


def test_files_become_one_and_no_row_changes(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    table = drivers(lake, partition="")
    for number in range(4):
        put(table, rows(3, first=number), tmp_path, idempotency_key=f"batch {number}")
    before = stored(lake)
    done = rewrite(str(lake), one, merged(lake), kind="compaction")
    assert (done.version, done.removed, done.added, done.rows) == (5, 4, 1, 12)
    assert stored(lake).equals(before)
    assert len(live_files(lake)) == 1
    last = log(lake)[-1]
    assert not any(action["dataChange"] for entry in last for action in entry.values() if "dataChange" in action)
    assert last[0]["commitInfo"]["tiffin.rewrite"] == "compaction"
    # The keys of the batches are still known.
    assert put(table, rows(3, first=1), tmp_path, idempotency_key="batch 1").already_applied


def test_an_erasure_takes_rows_and_files_that_are_left_empty(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    table = drivers(lake)
    put(table, rows(4), tmp_path)
    put(table, rows(1, first=2), tmp_path)
    done = rewrite(str(lake), each, without(lake, 1003), kind="erasure")
    assert (done.removed, done.added, done.rows) == (3, 2, 3)
    assert stored(lake)["driver_id"].to_list() == [1001, 1002, 1004]
    assert all(action["dataChange"] for entry in log(lake)[-1] for action in entry.values() if "dataChange" in action)


def test_nothing_chosen_is_no_commit(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    put(drivers(lake), rows(2), tmp_path)
    versions = len(log(lake))
    assert rewrite(str(lake), lambda _: [], merged(lake), kind="compaction").removed == 0
    assert len(log(lake)) == versions


def test_an_append_in_between_stays(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    table = drivers(lake, partition="")
    for number in range(3):
        put(table, rows(2, first=2 * number), tmp_path)
    put_late = iter([True])

    def change(group: Sequence[LiveFile]) -> Iterable[pl.DataFrame]:
        if next(put_late, False):
            put(table, rows(2, first=50), tmp_path)
        return merged(lake)(group)

    assert rewrite(str(lake), one, change, kind="compaction").removed == 3
    assert sorted(stored(lake)["driver_id"]) == [1001, 1002, 1003, 1004, 1005, 1006, 1051, 1052]
    assert len(live_files(lake)) == 2


def test_files_that_another_replaced_are_looked_for_anew(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    table = drivers(lake, partition="")
    for number in range(3):
        put(table, rows(2, first=2 * number), tmp_path)
    other = iter([True])

    def change(group: Sequence[LiveFile]) -> Iterable[pl.DataFrame]:
        if next(other, False):
            rewrite(str(lake), each, without(lake, 1002), kind="erasure")
        return merged(lake)(group)

    assert rewrite(str(lake), one, change, kind="compaction").rows == 5
    assert stored(lake)["driver_id"].to_list() == [1001, 1003, 1004, 1005, 1006]
    assert len(live_files(lake)) == 1


def test_who_always_loses_says_so(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    put(drivers(lake, partition=""), rows(2), tmp_path)

    def change(group: Sequence[LiveFile]) -> Iterable[pl.DataFrame]:
        rewrite(str(lake), one, merged(lake), kind="compaction")
        return merged(lake)(group)

    with pytest.raises(ConcurrentChange, match="kept replacing"):
        rewrite(str(lake), one, change, kind="compaction")
    assert stored(lake).height == 2
    assert len(data_files(lake)) == 1 + module.RESTARTS


def test_a_compaction_that_loses_rows_is_not_committed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    put(drivers(lake, partition=""), rows(2), tmp_path)
    with pytest.raises(CorruptData, match="hold 1 rows, but the log says 2"):
        rewrite(str(lake), one, without(lake, 1001), kind="compaction")
    assert stored(lake).height == 2
    assert sorted(data_files(lake)) == sorted(live_files(lake))


def test_rows_without_a_stamp_keep_their_place(tmp_path: Path) -> None:
    """An adopted folder: of two rows with the same times the one in the later file wins, also after erasures."""
    lake = tmp_path / "lake"
    lake.mkdir()
    for name in ("a", "a-1", "b"):
        rows(2).with_columns(pl.lit(ord(name[-1])).cast(pl.Int32).alias("trips")).write_parquet(
            lake / f"{name}.parquet"
        )
    table = drivers(lake, partition="")
    put(table, rows(1, first=9), tmp_path)
    places = [ord("1"), ord("a"), ord("b")]  # the order of the paths: "a-1.parquet" comes before "a.parquet"
    for key in (1001, 7, 8):
        rewrite(str(lake), each, without(lake, key), kind="erasure")
        old = [path for path in sorted(live_files(lake)) if "part-" not in path.name]
        assert [pl.read_parquet(path)["trips"].to_list() for path in old] == [[place] for place in places]
    assert max(len(path.name) for path in live_files(lake)) < 60
    with pytest.raises(Unsupported, match="its place"):
        rewrite(str(lake), one, merged(lake), kind="compaction")


def test_a_plain_folder_is_told(tmp_path: Path) -> None:
    rows(2).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(Unsupported, match="plain folder"):
        rewrite(str(tmp_path), one, merged(tmp_path), kind="compaction")


@pytest.mark.parametrize("place", ["a b", "a%20b", "ü=1", "x+y&z#"])
def test_partitions_of_any_name_are_found_again(tmp_path: Path, place: str) -> None:
    lake = tmp_path / "lake"
    (lake / "city=seed").mkdir(parents=True)
    rows(1, first=90).write_parquet(lake / "city=seed" / "old.parquet")
    table = drivers(lake, partition="")
    for number in range(2):
        batch = rows(2, first=2 * number).with_columns(pl.lit(place).alias("city"))
        put(table, batch, tmp_path)
    fresh = lambda files: [[file for file in files if file.partition["city"] == place]]  # noqa: E731
    assert rewrite(str(lake), fresh, merged(lake), kind="compaction").removed == 2
    live = open_table(str(lake))
    assert live is not None
    assert sorted(file.rows or 0 for file in module.live_files(str(lake), live)) == [1, 4]
    places = {file.path for file in snapshot(table.source).files}
    assert all(Path(path).exists() for path in places)
