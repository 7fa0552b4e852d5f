"""Offsets of a stream move in the commit that holds its messages, or nothing is committed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.ingest.lakes import log, stored
from tiffin.offline import commit_log
from tiffin.offline.commit_log import Appended, OffsetsMoved, append, recorded
from tiffin.offline.parts import Batch


def batch(*values: int) -> Batch:
    frame = pl.DataFrame({"v": pl.Series(values, dtype=pl.Int64)})
    return Batch(lambda: iter([frame]), {"v": pl.Int64()}, frozenset({"v"}), ("v",), "v", "")


def move(folder: Path, expected: int | None, new: int, *values: int, name: str = "s/0") -> Appended:
    return append(str(folder), batch(*values), offsets={name: (expected, new)})


def test_offsets_move_with_the_rows(tmp_path: Path) -> None:
    move(tmp_path, None, 2, 1, 2)
    move(tmp_path, 2, 3, 3)
    assert stored(tmp_path)["v"].to_list() == [1, 2, 3]
    assert recorded(str(tmp_path), DeltaTable(tmp_path), ["s/0", "s/1"]) == {"s/0": 3, "s/1": None}
    last = log(tmp_path)[-1]
    assert {"appId": "s/0", "version": 3} in [action["txn"] for action in last if "txn" in action]
    [info] = [action["commitInfo"] for action in last if "commitInfo" in action]
    assert json.loads(info[commit_log.OFFSETS]) == {"s/0": [2, 3]}


@pytest.mark.parametrize("expected", [None, 1, 3])
def test_a_batch_that_does_not_follow_is_not_stored(tmp_path: Path, expected: int | None) -> None:
    move(tmp_path, None, 2, 1, 2)
    with pytest.raises(OffsetsMoved) as caught:
        move(tmp_path, expected, 5, 9)
    assert caught.value.found == {"s/0": 2}
    assert stored(tmp_path)["v"].to_list() == [1, 2]
    assert list((tmp_path / "_tiffin").iterdir()) == []


def test_an_empty_batch_moves_offsets(tmp_path: Path) -> None:
    move(tmp_path, None, 2, 1, 2)
    assert move(tmp_path, 2, 7).rows == 0
    assert recorded(str(tmp_path), DeltaTable(tmp_path), ["s/0"]) == {"s/0": 7}
    assert stored(tmp_path)["v"].to_list() == [1, 2]


def test_offsets_survive_a_checkpoint(tmp_path: Path) -> None:
    move(tmp_path, None, 2, 1)
    move(tmp_path, None, 5, 1, name="s/1")
    DeltaTable(tmp_path).create_checkpoint()
    for old in sorted((tmp_path / "_delta_log").glob("*.json"))[:-1]:
        old.unlink()
    assert recorded(str(tmp_path), DeltaTable(tmp_path), ["s/0", "s/1"]) == {"s/0": 2, "s/1": 5}


def test_of_two_writers_with_the_same_messages_one_stores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked at the log before either commits."""
    move(tmp_path, None, 1, 0)
    both = threading.Barrier(2, timeout=20)
    plain = commit_log._write_and_commit

    def together(*given: object) -> Appended:
        both.wait()
        return plain(*given)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(commit_log, "_write_and_commit", together)
    ended: list[object] = []

    def write() -> None:
        try:
            ended.append(move(tmp_path, 1, 3, 1, 2))
        except OffsetsMoved as error:
            ended.append(error.found)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"s/0": 3} in ended
    assert stored(tmp_path)["v"].to_list() == [0, 1, 2]
