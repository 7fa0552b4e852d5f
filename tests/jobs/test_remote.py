"""Jobs that a registry service records: as those in a database, seen by a team, through restarts of the service."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from tests.jobs.conftest import Held, Told, record
from tests.servers.service import Service, core_service
from tiffin import clock
from tiffin.control import Control
from tiffin.errors import AlreadyExists, JobCancelled, JobFailed, NotFound, Unavailable
from tiffin.jobs import local
from tiffin.jobs.base import IngestionJob
from tiffin.jobs.ledger import LOST_AFTER, JobLedger, Report
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome, Progress
from tiffin.jobs.remote import RemoteJobStore
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database
from tiffin.remote.http import Connection


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture
def service(url: str, tmp_path: Path) -> Iterator[Service]:
    service = core_service(tmp_path / "core", url)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def database(service: Service, url: str) -> Iterator[sa.Engine]:
    """What lies behind the service."""
    del service  # it makes the schema
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    connection = Connection(service.url)
    yield connection
    connection.close()


@pytest.fixture
def store(connection: Connection) -> RemoteJobStore:
    return RemoteJobStore(connection)


@pytest.fixture
def launcher(store: RemoteJobStore) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(store)
    yield launcher
    launcher.close()


def running(job_id: str = "j", **changes: object) -> JobRecord:
    now = clock.now()
    here = {"host": socket.gethostname(), "pid": os.getpid(), "status": JobStatus.IN_PROGRESS}
    return replace(record(job_id), **here | {"start": now, "heartbeat": now} | changes)


def test_it_is_a_ledger_of_jobs(store: RemoteJobStore, database: sa.Engine) -> None:
    ledgers: list[JobLedger] = [store, JobStore(database)]
    ledgers[0].add(running())
    assert ledgers[0].get("j") == ledgers[1].get("j")


def test_a_job_runs_here_and_is_seen_elsewhere(
    store: RemoteJobStore, launcher: LocalLauncher, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.02)
    work = Held()

    def body(control: Control) -> Outcome:
        control.log("begun")
        control.progress(3, 9)
        return work.run(control)

    task = launcher.submit(record(), Told(body))
    job = IngestionJob(task.record, store, task)
    assert work.begun.wait(5)
    behind = JobStore(database)
    _until(lambda: behind.get("j").progress == Progress(3, 9))
    elsewhere = IngestionJob(store.get("j"), store)
    assert elsewhere.get_status() is JobStatus.IN_PROGRESS
    assert [line.split(" ", 1)[1] for line in elsewhere.log()] == ["begun"]
    assert [each.id for each in store.find(table="t", project="default")] == ["j"]
    work.release.set()
    job.wait(5)
    elsewhere.wait(5)
    assert (elsewhere.rows_written, behind.get("j").status) == (1, JobStatus.COMPLETED)
    assert store.find() == []
    assert [each.id for each in store.find(include_terminated=True)] == ["j"]


def test_cancel_and_failure_travel_both_ways(
    store: RemoteJobStore, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WATCH_EVERY", 0.02)
    launcher.submit(record("held"), Held())
    elsewhere = IngestionJob(store.get("held"), store)
    elsewhere.cancel()
    with pytest.raises(JobCancelled):
        elsewhere.wait(5)

    def fail(_: Control) -> Outcome:
        raise NotFound("There is nothing.")

    launcher.submit(record("broken"), Told(fail))
    with pytest.raises(JobFailed, match="There is nothing"):
        IngestionJob(store.get("broken"), store).wait(5)


def test_what_is_sent_twice_is_recorded_once(store: RemoteJobStore) -> None:
    mine = running()
    store.add(mine)
    store.add(mine)
    with pytest.raises(AlreadyExists):
        store.add(replace(mine, tables=("other",)))
    report = Report(mine, JobStatus.IN_PROGRESS, Progress(1, 2), [(5, "a"), (6, "b")])
    store.report([report])
    store._unsure.add("j")  # as if the answer had been lost
    store.report([report])
    assert store.log("j") == [(5, "a"), (6, "b")]
    ended = Report(mine, JobStatus.COMPLETED, Progress(2, 2), [(7, "c")])
    for _ in range(2):
        store.finish(ended, Outcome(1, 2, 3), "")
    assert store.log("j") == [(5, "a"), (6, "b"), (7, "c")]
    assert store.get("j").outcome == Outcome(1, 2, 3)


def test_a_report_that_may_have_been_lost_says_so_the_next_time(
    store: RemoteJobStore, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = running()
    store.add(mine)
    report = Report(mine, JobStatus.IN_PROGRESS, Progress(), [(5, "a")])
    real = connection.post

    def lose(path: str, body: object = None, **more: object) -> object:
        real(path, body, **more)  # type: ignore[arg-type]
        raise Unavailable("The answer was lost.")

    monkeypatch.setattr(connection, "post", lose)
    with pytest.raises(Unavailable):
        store.report([report])
    monkeypatch.setattr(connection, "post", real)
    store.report([report])
    assert store.log("j") == [(5, "a")]


def test_a_job_ends_though_the_service_restarts(
    store: RemoteJobStore, launcher: LocalLauncher, service: Service
) -> None:
    work = Held()
    task = launcher.submit(record(), work)
    assert work.begun.wait(5)
    service.kill()
    work.release.set()
    service.start()
    assert task.finished.wait(30)
    assert store.get("j").status is JobStatus.COMPLETED


def test_a_process_that_is_gone_is_noticed_where_it_was_and_by_its_silence_elsewhere(
    store: RemoteJobStore, service: Service
) -> None:
    gone = running("gone", pid=2**22 + 1)  # beyond the greatest number of a process
    store.add(gone)
    # The service does not look: of its own accord it goes on believing in the job.
    assert service.request("GET", "/api/v1/jobs/gone").json()["status"] == "IN_PROGRESS"
    assert store.get("gone").status is JobStatus.FAILED
    store.add(running("far", host="another"))
    assert store.get("far").status is JobStatus.IN_PROGRESS
    silent = clock.now() - LOST_AFTER - 1
    store.add(running("silent", host="another", start=silent, heartbeat=silent))
    assert service.request("GET", "/api/v1/jobs/silent").json()["status"] == "FAILED"


def test_a_report_of_an_unknown_job_does_not_hold_up_the_others(store: RemoteJobStore) -> None:
    store.add(running())
    reports = [Report(running(name), JobStatus.IN_PROGRESS, Progress(4)) for name in ("absent", "j")]
    assert store.report(reports) == set()
    assert store.get("j").progress.done == 4
    with pytest.raises(NotFound):
        store.log("absent")


def test_lists_are_fetched_page_by_page(store: RemoteJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.jobs import remote

    monkeypatch.setattr(remote, "_PAGE", 2)
    now = clock.now()
    for number in range(5):
        kind = JobType.HISTORICAL_RETRIEVAL if number % 2 else JobType.BATCH_INGESTION
        store.add(running(f"j{number}", start=now - number // 2, type=kind))
    assert [each.id for each in store.find()] == ["j0", "j1", "j2", "j3", "j4"]


def test_output_is_recorded(store: RemoteJobStore) -> None:
    store.add(running())
    store.set_output("j", "s3://bucket/ä")
    assert store.get("j").output == "s3://bucket/ä"


def _until(condition: Callable[[], bool]) -> None:
    deadline = clock.now() + 10_000_000
    while not condition():
        assert clock.now() < deadline
