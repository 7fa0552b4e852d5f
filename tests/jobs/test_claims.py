"""Claims: what a controller records is recorded under its lease or not at all; and processes adopt a record once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from tests.jobs.conftest import Told
from tests.servers.service import core_service
from tiffin import clock
from tiffin.errors import Conflict, InvalidArgument, NotFound
from tiffin.jobs.claims import Fence
from tiffin.jobs.decide import Run
from tiffin.jobs.ledger import JobLedger, Report
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome, Progress
from tiffin.jobs.remote import RemoteJobStore
from tiffin.jobs.schedule import Schedule, new_schedule
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.remote.http import Connection
from tiffin.testing.registry import driver, trips

MINE, OTHERS = Fence("control", "me"), Fence("control", "you")


@pytest.fixture(params=["sqlite", "postgres", "service"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobLedger]:
    """A record of jobs, whose lease is held by MINE."""
    if request.param == "service":
        url = f"sqlite:///{tmp_path}/registry.db"
        registry = Registry(open_registry(url))
        registry.apply([driver(), trips()])
        registry.close()
        service = core_service(tmp_path / "core", url)
        service.start()
        connection = Connection(service.url)
        remote = RemoteJobStore(connection)
        assert remote.leases.take("control", "me", 60)
        yield remote
        connection.close()
        service.kill()
    else:
        database: sa.Engine
        if request.param == "sqlite":
            database = open_database(f"sqlite:///{tmp_path}/registry.db")
        else:
            from tests.registry.places import PostgresPlace

            database = open_database(PostgresPlace(request.getfixturevalue("postgres")).url)
        store = JobStore(database)
        assert store.leases.take("control", "me", 60)
        yield store
        database.dispose()


def record(job_id: str, spec_hash: str = "ab", **more: object) -> JobRecord:
    now = clock.now()
    made = JobRecord(job_id, JobType.STREAM_INGESTION, "default", ("trips",), JobStatus.STARTING, now)
    return replace(made, **({"heartbeat": now, "host": "h", "pid": 1, "spec_hash": spec_hash, "attempt": 1} | more))


def finish(ledger: JobLedger, job: JobRecord, status: JobStatus = JobStatus.COMPLETED) -> None:
    ledger.finish(Report(job, status, Progress()), Outcome(), "")


def test_a_job_is_started_under_the_lease_alone_and_once(ledger: JobLedger) -> None:
    claims = ledger.claims
    assert not claims.start(record("x"), OTHERS)
    assert claims.start(record("y"), MINE)
    assert not claims.start(record("z"), MINE)  # one of the same definition goes on
    assert claims.start(record("w", "cd"), MINE)
    assert {each.id for each in claims.managed([])} == {"y", "w"}
    for absent in ("x", "z"):
        with pytest.raises(NotFound):
            ledger.get(absent)


def test_a_lease_that_is_over_is_no_lease(ledger: JobLedger) -> None:
    ledger.leases.release("control", "me")
    assert not ledger.claims.start(record("x"), MINE)
    assert ledger.leases.take("control", "you", 60)
    assert not ledger.claims.start(record("x"), MINE)
    assert ledger.claims.start(record("x"), OTHERS)
    assert not ledger.claims.stop("x", MINE)
    assert not ledger.get("x").cancelling
    assert ledger.claims.stop("x", OTHERS)
    assert ledger.get("x").cancelling


def test_of_what_ended_the_newest_of_each_definition_is_known(ledger: JobLedger) -> None:
    for number, spec_hash in enumerate(["ab", "ab", "cd", "ef"]):
        job = record(f"j{number}", spec_hash)
        assert ledger.claims.start(job, MINE)
        finish(ledger, job)
    assert {each.id for each in ledger.claims.managed(["ab", "cd"])} == {"j1", "j2"}
    found = ledger.claims.managed(["ab"])[0]
    assert (found.attempt, found.spec_hash, found.status) == (1, "ab", JobStatus.COMPLETED)


def test_one_process_adopts_a_job(ledger: JobLedger) -> None:
    job = record("x")
    assert ledger.claims.start(job, MINE)
    mine, yours = replace(job, host="h", pid=7), replace(job, host="h", pid=8)
    assert ledger.claims.adopt(mine)
    assert ledger.claims.adopt(mine)  # asked again because the answer was lost
    assert not ledger.claims.adopt(yours)
    assert ledger.get("x").pid == 7


@pytest.mark.parametrize("what", ["stopped", "ended"])
def test_a_job_that_must_not_start_any_more_is_not_adopted(ledger: JobLedger, what: str) -> None:
    job = record("x")
    assert ledger.claims.start(job, MINE)
    if what == "stopped":
        assert ledger.claims.stop("x", MINE)
    else:
        finish(ledger, job, JobStatus.FAILED)
    assert not ledger.claims.adopt(job)
    launcher = LocalLauncher(ledger)
    with pytest.raises(Conflict, match="not started here"):
        launcher.submit(job, Told(lambda _: Outcome()), adopt=True)
    launcher.close()


def test_an_adopted_job_runs_and_keeps_what_it_is_of(ledger: JobLedger) -> None:
    job = record("x", attempt=3)
    assert ledger.claims.start(job, MINE)
    launcher = LocalLauncher(ledger)
    task = launcher.submit(ledger.get("x"), Told(lambda _: Outcome(5, 1, 2)), adopt=True)
    assert task.finished.wait(30)
    done = ledger.get("x")
    assert (done.status, done.outcome, done.attempt) == (JobStatus.COMPLETED, Outcome(5, 1, 2), 3)
    assert done.spec_hash == "ab"
    launcher.close()


def test_a_run_is_claimed_once_and_by_what_was_decided_alone(ledger: JobLedger) -> None:
    ledger.schedules.put(new_schedule("default", "trips", "* * * * * *", 60, by="me"))
    schedule = ledger.schedules.all("default")[0]
    job = replace(record("x"), type=JobType.BATCH_INGESTION)
    run = Run(schedule, schedule.due, schedule.due, schedule.due + 1_000_000, 1)
    assert not ledger.claims.run(run._replace(due=run.due + 3_600_000_000), job, MINE)  # by the database's clock
    time.sleep(1.05)
    assert not ledger.claims.run(run, job, OTHERS)
    assert ledger.claims.run(run, job, MINE)
    assert not ledger.claims.run(run, replace(job, id="y"), MINE)
    claimed = ledger.schedules.all()[0]
    expected = {"run_from": schedule.due, "run_due": schedule.due, "run_job": "x", "due": schedule.due + 1_000_000}
    assert claimed == replace(schedule, **expected)
    assert {each.id for each in ledger.claims.managed([])} == {"x"}


def test_schedules_are_replaced_and_removed(ledger: JobLedger) -> None:
    schedules = ledger.schedules
    schedules.put(new_schedule("default", "trips", "0 * * * *", 60))
    schedules.put(new_schedule("default", "trips", "30 * * * *", None))
    [found] = schedules.all("default")
    assert (found.cron, found.timespan) == ("30 * * * *", None)
    schedules.remove("default", "trips")
    schedules.remove("default", "trips")
    assert schedules.all() == []


def test_a_service_knows_what_it_schedules(request: pytest.FixtureRequest, ledger: JobLedger) -> None:
    if not isinstance(ledger, RemoteJobStore):
        return  # the client has looked the table up
    with pytest.raises(NotFound, match="nothing"):
        ledger.schedules.put(Schedule("default", "nothing", "0 * * * *", 60, due=1))
    with pytest.raises(InvalidArgument, match="cron_schedule"):
        ledger.schedules.put(Schedule("default", "trips", "0 0 30 2 *", 60, due=1))


def test_what_ended_long_ago_is_deleted_with_its_log(ledger: JobLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.jobs.retention.BATCH", 2)
    for number in range(5):
        job = record(f"j{number}", f"{number:02x}")
        assert ledger.claims.start(job, MINE)
        if number < 4:
            said = Report(job, JobStatus.COMPLETED, Progress(), [(1, "a line"), (2, "another")])
            ledger.finish(said, Outcome(), "")
    assert ledger.prune(1, None).jobs == 0
    assert ledger.prune(clock.now() + 1, None).jobs == 4
    assert [each.id for each in ledger.find(include_terminated=True)] == ["j4"]
    assert ledger.log("j4") == []
