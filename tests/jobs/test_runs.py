"""The whole: ``tiffin jobs run`` and the registry service's own controller, over stores with tables and schedules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.jobs.stage import until
from tests.servers.service import core_service
from tiffin import runs
from tiffin.cli.main import app
from tiffin.client import Client
from tiffin.data_format import JsonFormat
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.source import KafkaSource, KinesisSource
from tiffin.errors import InvalidArgument, NotFound, StaleStoreWarning
from tiffin.jobs.record import JobStatus, JobType
from tiffin.jobs.spec import JobSpec
from tiffin.types import ValueType
from tiffin.workspace import Workspace

CALM = {"control_every": "0.2", "control_lease": "2"}


def table(**more: Any) -> FeatureTable:
    return FeatureTable("trips", ["driver_id"], [Feature("fare", ValueType.DOUBLE)], **more)


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with Client({"home": str(home)}) as client:
        client.apply([Entity("driver_id", value_type=ValueType.INT64), table()])
        yield client


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(f"driver_id,fare,event_timestamp\n1,2.5,{datetime(2026, 1, 1, tzinfo=UTC).isoformat()}\n")
    return path


@contextmanager
def tiffin(*arguments: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {f"TIFFIN_{name.upper()}": value for name, value in CALM.items()}
    command = [sys.executable, "-c", "from tiffin.cli.main import run; run()", *arguments, "--home", str(home)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def fare(client: Client) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleStoreWarning)  # until the schedule has run
        return client.get_online_features(["trips:fare"], [{"driver_id": 1}]).to_dict()["trips:fare"][0]


def test_a_schedule_brings_rows_online_until_the_controller_is_told_to_end(
    client: Client, home: Path, rows: Path
) -> None:
    client.schedule_offline_to_online_ingestion("trips", None, "* * * * * *")
    with tiffin("jobs", "run", home=home) as controller:
        client.ingest("trips", rows)
        until(lambda: fare(client) == 2.5, 60)
        client.unschedule_offline_to_online_ingestion("trips")
        client.unschedule_offline_to_online_ingestion("trips")
        controller.send_signal(signal.SIGTERM)
        assert controller.wait(60) == 0
    assert client.list_schedules() == []
    done = client.list_jobs(include_terminated=True)
    assert JobStatus.COMPLETED in {job.get_status() for job in done}
    assert {job.type for job in done} == {JobType.BATCH_INGESTION}


def test_one_job_is_run_from_its_spec(client: Client, home: Path, rows: Path, tmp_path: Path) -> None:
    client.ingest("trips", rows)
    path = tmp_path / "job.yaml"
    path.write_text("type: BATCH_INGESTION\nproject: default\ntables: [trips]\n")
    answer = CliRunner().invoke(app, ["job", "run", str(path), "--home", str(home), "--json"], catch_exceptions=False)
    assert (answer.exit_code, json.loads(answer.stdout)["rows_written"]) == (0, 1)
    assert fare(client) == 2.5


def test_a_window_of_a_spec_excludes_its_end_and_must_not_be_empty(client: Client, rows: Path) -> None:
    client.ingest("trips", rows)
    at = 1_767_225_600_000_000
    for start, end, written in ((at - 1, at, 0), (at, at + 1, 1)):
        job = runs.start(client._workspace, JobSpec(JobType.BATCH_INGESTION, "default", ("trips",), start, end))
        job.wait(60)
        assert job.rows_written == written
    with pytest.raises(InvalidArgument, match="empty"):
        runs.start(client._workspace, JobSpec(JobType.BATCH_INGESTION, "default", ("trips",), at, at))


def test_the_registry_service_runs_schedules_itself_where_it_is_told_to(tmp_path: Path, rows: Path) -> None:
    database, shared = f"sqlite:///{tmp_path / 'registry.db'}", str(tmp_path / "histories")
    places = {"offline_location": shared, "online_store": f"lmdb://{tmp_path / 'online'}"}
    service = core_service(tmp_path / "core", database, control_loop="true", **CALM, **places)
    service.start()
    try:
        with Client({"home": str(tmp_path / "mine"), "core_url": service.url, **places}) as client:
            client.apply([Entity("driver_id", value_type=ValueType.INT64), table()])
            client.ingest("trips", rows)
            client.schedule_offline_to_online_ingestion("trips", "P1000D", "* * * * * *")
            until(lambda: fare(client) == 2.5, 60)
            assert [each.table for each in client.list_schedules()] == ["trips"]
            client.unschedule_offline_to_online_ingestion("trips")
            until(lambda: not client.list_jobs(), 60)
        assert service.stop() == 0
    finally:
        service.kill()


def test_what_should_run_is_what_is_registered(home: Path) -> None:
    place = {"event_timestamp_column": "event_timestamp", "created_timestamp_column": "created"}
    kafka = KafkaSource(**place, bootstrap_servers="localhost:1", message_format=JsonFormat(), topic="trips")
    kinesis = KinesisSource(**place, record_format=JsonFormat(), region="eu", stream_name="trips")
    with Client({"home": str(home)}) as client:
        goal = runs.Registered(Workspace(client.config), None)
        entity = Entity("driver_id", value_type=ValueType.INT64)
        client.apply([entity, table()])
        hashes: list[str] = []

        def apply(changed: FeatureTable, project: str = "default") -> list[str]:
            client.apply(changed, project, allow_breaking=True)
            goal._workspace.registry.snapshot(fresh=True)
            return [each.hash for each in goal.streams()]

        assert apply(table(stream_source=kinesis)) == []
        hashes += apply(table(stream_source=kafka))
        assert apply(table(stream_source=kafka, description="words", labels={"a": "b"}, owner="me")) == hashes
        assert apply(table(stream_source=kafka, to_offline=False)) != hashes
        client.apply([entity, table(stream_source=kafka)], "rides")
        goal._workspace.registry.snapshot(fresh=True)
        assert [each.project for each in goal.streams()] == ["default", "rides"]
        assert [each.project for each in runs.Registered(goal._workspace, "rides").streams()] == ["rides"]
        assert goal.has_table("rides", "trips")
        assert not goal.has_table("rides", "nothing")
        client.archive_project("rides")
        client.delete_feature_table("trips", "default")
        goal._workspace.registry.snapshot(fresh=True)
        assert goal.streams() == []
        assert not goal.has_table("rides", "trips")
        assert not goal.has_table("default", "trips")
        goal._workspace.close()


def test_what_cannot_start_says_why_where_all_can_see_it(client: Client) -> None:
    workspace = client._workspace
    jobs = workspace.jobs
    from tiffin.jobs.local import started_here
    from tiffin.jobs.record import new_record

    record = started_here(new_record(JobType.STREAM_INGESTION, "default", ["absent"], spec_hash="ab"))
    jobs.add(record)
    with pytest.raises(NotFound):
        runs.start(workspace, JobSpec(record.type, "default", ("absent",), id=record.id))
    assert "absent" in jobs.get(record.id).error


def test_a_child_gets_the_options_that_were_given_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_MAX_SKEW", "5")
    monkeypatch.setenv("TIFFIN_CORE_URL", "http://nowhere:1")
    with Client({"home": str(home), "redis_password": "secret"}) as client:
        client.config.set("core_url", None)
        found = runs.environment(client.config)
    assert found == {
        "TIFFIN_CORE_URL": "",
        "TIFFIN_HOME": str(home),
        "TIFFIN_REDIS_PASSWORD": "secret",
        "TIFFIN_SERVING_URL": "",
    }


def test_schedules_and_retention_on_the_command_line(client: Client, home: Path) -> None:
    def run(*arguments: str, code: int = 0) -> Any:
        answer = CliRunner().invoke(app, [*arguments, "--home", str(home), "--json"], catch_exceptions=False)
        assert answer.exit_code == code, answer.stderr
        return json.loads(answer.stdout or "null")

    run("jobs", "schedule", "trips", "--cron", "0 * * * *", "--timespan", "PT2H")
    [found] = run("jobs", "schedules")
    assert (found["table"], found["cron"], found["timespan"], found["last_job"]) == ("trips", "0 * * * *", 7200, None)
    run("jobs", "schedule", "trips", "--cron", "0 0 30 2 *", code=1)
    run("jobs", "schedule", "trips", "--cron", "0 * * * *", "--timespan", "P1M", code=1)
    run("jobs", "schedule", "nothing", "--cron", "0 * * * *", code=1)
    run("jobs", "unschedule", "trips")
    assert run("jobs", "schedules") == []
    client.materialize()
    assert run("registry", "prune") == {"jobs": 0, "events": 0}
    assert run("registry", "prune", "--jobs-days", "0")["jobs"] == 1
    run("registry", "prune", "--jobs-days", "-1", code=1)
