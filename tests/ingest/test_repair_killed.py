"""Processes that are killed: what they left is finished at the next start, or by repair, by one repairer at a time."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingest.repair_workers import opened, push_and_die, read, repair, rows
from tiffin import Client, recovery
from tiffin.ingest import deadletter, spool
from tiffin.ingest.spool import Spool, sweep_scratch
from tiffin.jobs import JobStatus
from tiffin.jobs.lease import holding
from tiffin.jobs.local import started_here
from tiffin.jobs.record import JobType, new_record
from tiffin.offline import area

# Between a push that was killed and its repair, a read says that a commit waits.
pytestmark = pytest.mark.filterwarnings("ignore::tiffin.errors.StaleStoreWarning")

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path) as client:
        client.push("t", rows(1))
        yield client


def killed(home: Path, key: int, step: str, **more: Any) -> None:
    process = CONTEXT.Process(target=push_and_die, args=(str(home), key, step), kwargs=more)
    process.start()
    process.join(60)
    assert process.exitcode == -9, "it was to be killed"


def again(home: Path) -> Client:
    """A client of its own, as after a restart."""
    return opened(home)


def test_repair_finishes_what_was_cut_off(client: Client, tmp_path: Path) -> None:
    killed(tmp_path, 2, "before the commit")
    killed(tmp_path, 3, "before the online store", alone=True)
    killed(tmp_path, 4, "before the mark", alone=True)
    assert read(client, 1, 2, 3) == [1, None, None]
    commits = client.repair()
    assert [(commit.feature_table, commit.version, commit.rows) for commit in commits] == [("t", 2, 1), ("t", 3, 1)]
    assert read(client, 1, 2, 3, 4) == [1, None, 1, 1]
    assert client.repair() == []
    assert client.verify(sample=None).is_consistent


def test_the_next_start_finishes_it_when_it_first_writes(client: Client, tmp_path: Path) -> None:
    killed(tmp_path, 2, "before the online store")
    with again(tmp_path) as other:
        assert read(other, 2) == [None]
        other.ingest("t", rows(9))
        assert read(other, 2) == [None]  # an ingestion has no business with the online store
        other.push("t", rows(3))
        assert read(other, 2, 3, 9) == [1, 1, None]
        assert other.repair() == []


def test_a_store_that_fails_keeps_nobody_from_writing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed(tmp_path, 2, "before the online store")
    from tiffin.errors import StorageError

    def refuse(*_: Any, **__: Any) -> Any:
        raise StorageError("The log cannot be read.")

    monkeypatch.setattr(recovery, "finish_pushes", refuse)
    with again(tmp_path) as other:
        other.push("t", rows(3))
        assert read(other, 3) == [1]
    assert "The log cannot be read." in caplog.text


def test_a_materialisation_whose_process_was_killed(client: Client, tmp_path: Path) -> None:
    killed(tmp_path, 2, "in a materialisation")
    assert read(client, 2) == [None]
    client.repair()
    assert read(client, 2) == [1]
    [job] = client.list_jobs(include_terminated=True)
    assert job.get_status() is JobStatus.FAILED
    assert "ended before it" in job.error


def test_a_materialisation_that_is_at_work_is_left_to_it(client: Client, tmp_path: Path) -> None:
    killed(tmp_path, 2, "in a materialisation")
    client.repair()
    killed(tmp_path, 3, "in a materialisation")
    jobs = client._workspace.jobs
    live = started_here(new_record(JobType.BATCH_INGESTION, "default", ["t"]), JobStatus.IN_PROGRESS)
    jobs.add(live)
    client.repair()
    assert read(client, 3) == [None]
    jobs.fail(live, "It ended.")
    client.repair()
    assert read(client, 3) == [1]


def test_files_of_a_batch_that_was_never_committed(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(area, "ABANDONED_AFTER_S", 0.0)
    left = tmp_path / "offline" / "default" / "t" / area.AREA / "00000000"
    left.mkdir(parents=True)
    (left / "1").write_bytes(b"half a file")
    client.repair()
    assert not left.exists()


# Dead letters


def letters(home: Path) -> list[Path]:
    return sorted((home / "dead_letters").rglob("*.*"))


@pytest.mark.parametrize(
    ("step", "stay"),
    [("before the commit", False), ("before the note goes", True), ("before the online store", True)],
)
def test_dead_letters_stay_with_a_batch_that_was_stored(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stay: bool
) -> None:
    killed(tmp_path, 2, step, on_invalid="quarantine")
    assert letters(tmp_path)
    client.repair()
    assert letters(tmp_path), "a note that is young is nobody's to judge"
    monkeypatch.setattr(deadletter, "ABANDONED_AFTER_S", 0.0)
    client.repair()
    assert [path.name for path in letters(tmp_path)] == (["part-0.parquet"] if stay else [])
    assert read(client, 2) == ([1] if stay else [None])


def test_dead_letters_of_a_living_process_are_left_to_it(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletter, "ABANDONED_AFTER_S", 0.0)
    folder = str(tmp_path / "dead_letters" / "default" / "t" / "batch")
    with Spool(str(tmp_path)) as bad:
        bad.add(pl.DataFrame({"k": [1]}))
        with deadletter.setting_aside(folder, bad, str(tmp_path / "offline" / "default" / "t"), 0):
            assert deadletter.finish(str(tmp_path / "dead_letters")) == []
            assert [path.name for path in letters(tmp_path)] == ["_unfinished.json", "part-0.parquet"]
    assert [path.name for path in letters(tmp_path)] == ["part-0.parquet"]


def test_scratch_of_a_killed_process(tmp_path: Path) -> None:
    def spill(held: Spool) -> None:
        held.add(pl.DataFrame({"k": [1, 2]}))
        held._spill()

    with Spool(str(tmp_path)) as held:
        spill(held)
        assert sweep_scratch(str(tmp_path), grace=0.0) == 0
    left = Spool(str(tmp_path))
    spill(left)
    assert left._lock is not None
    left._lock.close()  # as the end of its process does
    assert sweep_scratch(str(tmp_path)) == 0
    os.utime(left._folder, (0, 0))
    assert sweep_scratch(str(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []
    assert spool.sweep_scratch(str(tmp_path / "nowhere")) == 0


# One repairer at a time


def test_a_table_that_somebody_repairs_is_left_to_them(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PATIENCE_S", 0.5)
    killed(tmp_path, 2, "before the online store")
    with again(tmp_path) as other, holding(other._workspace.jobs.leases, "repair/default/t"):
        assert client.repair() == []
        assert read(client, 2) == [None]
        client.push("t", rows(3))  # nor does a writer wait for them
        assert read(client, 2, 3) == [None, 1]
    assert [commit.rows for commit in client.repair()] == [1]
    assert read(client, 2) == [1]


def test_repairers_in_several_processes(client: Client, tmp_path: Path) -> None:
    for key in (2, 3):
        killed(tmp_path, key, "before the online store", alone=True)
    answers = CONTEXT.Queue()
    at = time.time() + 4
    workers = [CONTEXT.Process(target=repair, args=(str(tmp_path), at, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    finished = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sorted(version for versions in finished for version in versions) == [2, 3]
    assert read(client, 1, 2, 3) == [1, 1, 1]
