"""Many processes ingest into one table at once: nothing is lost, nothing doubled, one commit for one key."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.killing import CONTEXT
from tests.ingest.lakes import data_files, drivers, live_files, log, put, rows, stored
from tiffin.errors import Conflict

EACH = 3


def writer(number: int, folder: Path, barrier: Any, answers: Any, key: str | None, changed: bool) -> None:
    """Ingest EACH batches of its own, or with a key one batch that all processes share."""
    table = drivers(folder)
    barrier.wait()
    for turn in range(EACH if key is None else 1):
        first = 0 if key else 100 * number + 10 * turn
        try:
            commit = put(table, rows(4, first=first + (number if changed else 0)), folder.parent, idempotency_key=key)
            answers.put((commit.version, commit.already_applied, commit.rows))
        except Conflict as error:
            answers.put((-1, error.code, 0))


def together(folder: Path, processes: int, *, key: str | None = None, changed: bool = False) -> list[tuple[Any, ...]]:
    """What every process was answered, once all have ended."""
    barrier, answers = CONTEXT.Barrier(processes), CONTEXT.Queue()
    arguments = [(number, folder, barrier, answers, key, changed) for number in range(processes)]
    started = [CONTEXT.Process(target=writer, args=each) for each in arguments]
    for process in started:
        process.start()
    found = [answers.get(timeout=120) for _ in range(processes * (1 if key else EACH))]
    for process in started:
        process.join()
        assert process.exitcode == 0
    return found


def test_eight_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    found = together(folder, 8)
    # Version 0 made the table; every commit has a version of its own.
    assert sorted(version for version, _, _ in found) == list(range(1, 8 * EACH + 1))
    whole = stored(folder)
    assert whole.height == 8 * EACH * 4
    assert whole["driver_id"].is_unique().all()
    assert whole["_ingested_at"].n_unique() == 8 * EACH
    assert sorted(data_files(folder)) == sorted(live_files(folder))
    committed = [actions[0]["commitInfo"]["tiffin.committed_at"] for actions in log(folder)]
    assert committed == sorted(set(committed)), "commits are stamped in the order of their versions"


def test_one_key_at_once_is_applied_once(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    found = together(folder, 3, key="nightly")
    assert stored(folder).height == 4
    assert sorted(already for _, already, _ in found) == [False] + [True] * 2
    assert {version for version, _, _ in found} == {1}
    assert {count for _, _, count in found} == {4}
    assert sorted(data_files(folder)) == sorted(live_files(folder))


def test_one_key_at_once_with_other_content_is_a_conflict_for_all_but_one(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    found = together(folder, 3, key="nightly", changed=True)
    assert sorted(str(already) for _, already, _ in found) == ["False"] + ["conflict"] * 2
    assert stored(folder).height == 4
    assert sorted(data_files(folder)) == sorted(live_files(folder))


@pytest.fixture(autouse=True, scope="module")
def _children_end() -> Any:
    yield
    assert not multiprocessing.active_children()
