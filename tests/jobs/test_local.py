"""Jobs in threads: what becomes of them, and what is recorded of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from tests.jobs.conftest import Held, Told, record
from tiffin.control import Control
from tiffin.errors import InvalidData, JobCancelled, JobFailed, JobTimeout, NotFound, Unavailable
from tiffin.jobs import local
from tiffin.jobs.base import IngestionJob
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobStatus, Outcome, Progress
from tiffin.jobs.store import JobStore, Report
from tiffin.registry.tables import jobs

Start = Callable[..., IngestionJob]


def raw(database: sa.Engine, job_id: str = "j") -> dict[str, object]:
    """The row itself."""
    with database.connect() as connection:
        return dict(connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one())


def test_a_job_returns_at_once_completes_and_is_recorded(start: Start, database: sa.Engine) -> None:
    work = Held()
    job = start(work)
    assert work.begun.wait(5)
    assert job.get_status() is JobStatus.IN_PROGRESS
    assert raw(database)["state"] == "IN_PROGRESS"
    work.release.set()
    job.wait(5)
    assert job.get_status() is JobStatus.COMPLETED
    assert (job.rows_written, job.rows_skipped, job.rows_rejected) == (1, 0, 0)
    row = raw(database)
    assert (row["state"], row["rows_written"], row["error"]) == ("COMPLETED", 1, None)
    assert row["created"] == row["started"] <= row["ended"]
    assert (row["host"], row["pid"]) == (socket.gethostname(), os.getpid())
    assert job.get_start_time().tzinfo is not None


def test_failure_keeps_the_cause_here_and_its_words_elsewhere(start: Start, store: JobStore) -> None:
    cause = InvalidData("Column 'x' is missing.", field="x", hint="Add it.")

    def fail(control: Control) -> Outcome:
        control.log("about to fail")
        raise cause

    job = start(fail)
    with pytest.raises(
        JobFailed, match=r"materialisation of t \(job j\) failed: Column 'x' is missing\. Add it\."
    ) as caught:
        job.wait(5)
    assert caught.value.__cause__ is cause
    assert (caught.value.field, caught.value.hint) == ("x", "Add it.")
    elsewhere = IngestionJob(store.get("j"), store)
    with pytest.raises(JobFailed, match="Column 'x' is missing"):
        elsewhere.wait(5)
    assert elsewhere.error == "Column 'x' is missing. Add it."
    assert [line.split(" ", 1)[1] for line in elsewhere.log()] == ["about to fail"]


def test_an_error_nobody_foresaw_leaves_its_trace_in_the_log(start: Start) -> None:
    def fail(_: Control) -> Outcome:
        return {}["absent"]  # type: ignore[return-value]  # the point is the KeyError

    job = start(fail)
    with pytest.raises(JobFailed, match="absent"):
        job.wait(5)
    assert "Traceback" in job.log()[0]
    assert "KeyError" in job.log()[0]


def test_timeout_leaves_the_job_going(start: Start, store: JobStore) -> None:
    work = Held()
    job = start(work)
    with pytest.raises(JobTimeout, match=r"did not end within 0\.02 s"):
        job.wait(0.02)
    with pytest.raises(JobTimeout):
        IngestionJob(store.get("j"), store).wait(0.02)
    work.release.set()
    job.wait(5)
    assert job.get_status() is JobStatus.COMPLETED


def test_cancel_here(start: Start, database: sa.Engine) -> None:
    job = start(Held())
    job.cancel()
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.wait(5)
    assert (raw(database)["state"], job.error) == ("CANCELLED", "")
    job.cancel()
    assert job.get_status() is JobStatus.CANCELLED


def test_cancel_from_elsewhere(start: Start, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.01)
    work = Held()
    job = start(work)
    assert work.begun.wait(5)
    elsewhere = IngestionJob(store.get("j"), store)
    elsewhere.cancel()
    with pytest.raises(JobCancelled):
        elsewhere.wait(5)
    assert job.get_status() is JobStatus.CANCELLED


def test_cancel_before_there_was_a_slot(start: Start) -> None:
    held = [start(Held(), f"held{number}") for number in range(local.SLOTS)]
    ran = threading.Event()

    def run(_: Control) -> Outcome:
        ran.set()
        return Outcome()

    waiting = start(run, "waiting")
    assert waiting.get_status() is JobStatus.STARTING
    waiting.cancel()
    with pytest.raises(JobCancelled):
        waiting.wait(5)
    assert not ran.is_set()
    held[0].cancel()
    late = start(lambda _: Outcome(written=5), "late")
    late.wait(5)
    assert (late.rows_written, late.record.status) == (5, JobStatus.COMPLETED)
    for job in held:
        job.cancel()


def test_progress_and_log_are_recorded_while_it_runs(
    start: Start, store: JobStore, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.01)
    release = threading.Event()

    def run(control: Control) -> Outcome:
        control.progress(5, 10, unit="rows")
        control.log("half")
        release.wait(5)
        control.log("all")
        return Outcome(written=10)

    job = start(run)
    elsewhere = IngestionJob(store.get("j"), store)
    deadline = time.monotonic() + 5
    while not elsewhere.log() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert elsewhere.progress == Progress(5, 10, "rows")
    assert raw(database)["progress"] == 0.5
    release.set()
    job.wait(5)
    assert [line.split(" ", 1)[1] for line in elsewhere.log()] == ["half", "all"]


def test_a_report_that_comes_late_does_not_revive_a_job(start: Start, store: JobStore) -> None:
    job = start(lambda _: Outcome())
    job.wait(5)
    assert store.report([Report(job.record, JobStatus.IN_PROGRESS, Progress(1))]) == set()
    assert job.record.status is JobStatus.COMPLETED


def test_a_database_that_is_away_for_a_moment_costs_no_line(
    start: Start, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.01)
    away, release = threading.Event(), threading.Event()

    def report(_: object) -> set[str]:
        away.set()
        raise Unavailable("away")

    def run(control: Control) -> Outcome:
        control.log("one")
        control.log("two")
        release.wait(5)
        return Outcome()

    monkeypatch.setattr(store, "report", report)
    job = start(run)
    assert away.wait(5)
    release.set()
    job.wait(5)
    assert [line.split(" ", 1)[1] for line in job.log()] == ["one", "two"]


def test_the_end_of_a_job_is_told_again_while_the_database_is_away(
    start: Start, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, refused = JobStore.finish, []

    def away(self: JobStore, *given: object) -> None:
        if len(refused) < 2:
            refused.append(given)
            raise Unavailable("The database is away.")
        finish(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(JobStore, "finish", away)
    monkeypatch.setattr(local, "WATCH_EVERY", 0.05)
    job = start(lambda _: Outcome(3, 2, 1))
    job.wait(20)
    assert len(refused) == 2
    ended = store.get(job.get_id())
    assert (ended.status, ended.outcome) == (JobStatus.COMPLETED, Outcome(3, 2, 1))


def test_a_database_that_stays_away_keeps_no_job_for_ever(
    start: Start, store: JobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(JobStore, "finish", away)
    monkeypatch.setattr(local, "WATCH_EVERY", 0.05)
    monkeypatch.setattr(local, "FINISH_PATIENCE", 0.2)
    job = start(lambda _: Outcome(3, 2, 1))
    job.wait(20)
    assert "could not be recorded" in caplog.text
    assert not store.get(job.get_id()).status.is_final


def test_listing(start: Start, store: JobStore) -> None:
    work = Held()
    running = start(work, "running", "a", "b")
    start(lambda _: Outcome(), "done", "b").wait(5)
    assert [found.id for found in store.find()] == ["running"]
    assert {found.id for found in store.find(include_terminated=True)} == {"running", "done"}
    assert {found.id for found in store.find(include_terminated=True, table="a")} == {"running"}
    assert {found.id for found in store.find(include_terminated=True, table="b")} == {"running", "done"}
    assert store.find(include_terminated=True, project="other") == []
    work.release.set()
    running.wait(5)
    with pytest.raises(NotFound, match="no job 'absent'"):
        store.get("absent")


def test_a_job_of_a_process_that_is_gone_is_reported_as_failed(store: JobStore, database: sa.Engine) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    lost = local.started_here(record("lost"))
    store.add(replace(lost, pid=child.pid))
    store.add(replace(lost, id="far", host="elsewhere", pid=child.pid))
    store.add(replace(lost, id="silent", host="elsewhere", heartbeat=1))
    found = {job.id: job for job in store.find(include_terminated=True)}
    assert {name: job.status.name for name, job in found.items()} == {
        "lost": "FAILED",
        "far": "STARTING",
        "silent": "FAILED",
    }
    assert f"pid {child.pid}" in found["lost"].error
    assert raw(database, "lost")["state"] == "FAILED"
    assert store.find() == [found["far"]]


def test_a_sign_of_life_is_stronger_than_a_guess(store: JobStore) -> None:
    seen = local.started_here(record())
    store.add(seen)
    store.report([Report(seen, JobStatus.STARTING, Progress(1))])
    assert store.fail(replace(seen, heartbeat=seen.heartbeat - 1), "guess").status is JobStatus.STARTING


def test_closing_cancels_what_runs_and_records_what_will_not_stop(launcher: LocalLauncher, store: JobStore) -> None:
    stubborn, release = threading.Event(), threading.Event()

    def deaf(_: Control) -> Outcome:
        stubborn.set()
        release.wait(10)
        return Outcome()

    willing = launcher.submit(record("willing"), Held())
    unwilling = launcher.submit(record("unwilling"), Told(deaf))
    assert stubborn.wait(5)
    launcher.close(grace=0.2)
    assert willing.status is JobStatus.CANCELLED
    assert store.get("unwilling").status is JobStatus.FAILED
    release.set()
    assert unwilling.finished.wait(5)


PROGRAM = """
    import sys, time
    from tests.jobs.conftest import Told, record
    from tiffin.jobs.local import LocalLauncher
    from tiffin.jobs.record import Outcome
    from tiffin.jobs.store import JobStore
    from tiffin.registry.database import open_database

    def work(control):
        print("begun", flush=True)
        while True:
            control.check()
            time.sleep(0.01)

    store = JobStore(open_database(sys.argv[1]))
    LocalLauncher(store).submit(record("theirs"), Told(work))
    time.sleep(float(sys.argv[2]))
"""


def program(database: sa.Engine, seconds: float) -> subprocess.Popen[str]:
    """Another process that runs a job without end, and itself ends after some seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(database.url), str(seconds)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_an_ending_interpreter_does_not_wait_for_its_jobs(store: JobStore, database: sa.Engine) -> None:
    with program(database, 0.1) as process:
        assert process.wait(20) == 0
    assert store.get("theirs").status is JobStatus.CANCELLED


def test_jobs_of_other_processes_are_seen_cancelled_and_missed(store: JobStore, database: sa.Engine) -> None:
    with program(database, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (found,) = store.find()
        assert (found.id, found.pid) == ("theirs", process.pid)
        process.send_signal(signal.SIGKILL)
    with pytest.raises(JobFailed, match="The process that ran the job"):
        IngestionJob(found, store).wait(5)


def test_a_forked_child_sees_its_parents_job_through_the_record(start: Start, store: JobStore) -> None:
    work = Held()
    job = start(work)
    assert work.begun.wait(5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, job.get_status().name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"IN_PROGRESS"
    os.close(read)
    os.close(write)
    work.release.set()
    job.wait(5)


def test_a_forked_child_runs_jobs_of_its_own(
    start: Start, store: JobStore, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.01)
    work = Held()
    parents = start(work, "parents")
    assert work.begun.wait(5)
    child = os.fork()
    if child == 0:
        task = launcher.submit(record("childs"), Held())
        task.finished.wait(20)
        os._exit(task.status is not JobStatus.CANCELLED)
    deadline = time.monotonic() + 10
    while "childs" not in {job.id for job in store.find()} and time.monotonic() < deadline:
        time.sleep(0.01)
    store.request_cancel("childs")
    assert os.waitpid(child, 0)[1] == 0
    assert parents.get_status() is JobStatus.IN_PROGRESS
    work.release.set()
    parents.wait(5)


def test_words_that_no_database_holds_are_recorded_as_escapes(start: Start, store: JobStore) -> None:
    def fail(control: Control) -> Outcome:
        control.log("half \ud800 and \0")
        raise InvalidData("The value 'a\0b' has a NUL.")

    job = start(fail)
    with pytest.raises(JobFailed):
        job.wait(5)
    assert "a\\x00b" in store.get("j").error
    assert next(line for _, line in store.log("j")) == "half \\ud800 and \\x00"
