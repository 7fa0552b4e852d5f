"""The article's client program against real services: core on PostgreSQL, serving on Redis, each its own process.

The program is the example's as it stands; only the names of hosts are replaced by the addresses of the services, and
its settings no longer say ``embedded``.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from tests.examples.test_driver_statistics import EXAMPLE, FEATURES, history
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.services import Service, running

HOSTS = {
    "core": "feast-release-feast-core.aniruddha-choudhury.svc.cluster.local:6565",
    "online": "feast-release-feast-online-serving.aniruddha-choudhury.svc.cluster.local:6566",
    "redis": "feast-release-redis-headless.aniruddha-choudhury.svc.cluster.local:6379",
}


class Ran(NamedTuple):
    folder: Path
    said: str
    warned: str
    core: Service
    online: Service
    database: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, redis_server: RedisServer) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("article")
    redis_server.cli("FLUSHALL")
    database = postgres.database()
    core = Service("core", folder / "core", registry=database)
    online = Service("online", folder / "online", core_url=core.address, redis_host=f"127.0.0.1:{redis_server.port}")
    with running(core, online):
        addresses = {"core": core.address, "online": online.address, "redis": f"127.0.0.1:{redis_server.port}"}
        done = subprocess.run(
            [sys.executable, str(program(folder / "program", addresses)), str(folder / "work")],
            capture_output=True,
            text=True,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith(("TIFFIN_", "FEAST_"))},
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr + core.log + online.log
        yield Ran(folder / "work", done.stdout, done.stderr, core, online, database)


def program(folder: Path, addresses: dict[str, str]) -> Path:
    """A copy of the example that names these addresses."""
    shutil.copytree(EXAMPLE, folder)
    path = folder / "notebook.py"
    text = path.read_text()
    for name, host in HOSTS.items():
        assert text.count(f'"{host}"') == 2, name
        text = text.replace(f'"{host}"', f'"{addresses[name]}"')
    path.write_text(text)
    (folder / "tiffin.toml").write_text("")
    return path


def test_the_definitions_are_in_postgres(ran: Ran, postgres: PostgresServer) -> None:
    database = ran.database.rsplit("/", 1)[1]
    found = postgres.sql("SELECT kind, name FROM objects ORDER BY kind, name", database).split()
    assert found == ["Entity|driver_id", "FeatureTable|driver_statistics"]
    assert not (ran.folder / ".tiffin" / "registry.db").exists()
    assert not (ran.folder / ".tiffin" / "online").exists()


def test_the_definition_is_printed_as_it_was_declared(ran: Ran) -> None:
    assert "name: driver_statistics" in ran.said
    assert "eventTimestampColumn: datetime" in ran.said


def test_the_training_set_is_the_latest_row_of_each_moment(ran: Ran) -> None:
    [bucket] = ran.folder.glob("feast-staging-bucket-*")
    training = pl.concat([pl.read_parquet(part) for part in sorted((bucket / "historical").rglob("part-*"))])
    asked = pl.read_csv(ran.folder / "feast_data_source" / "data" / "entity.csv", try_parse_dates=True)
    assert training.columns == ["driver_id", "event_timestamp", *(f"driver_statistics__{name}" for name in FEATURES)]
    assert training["driver_id"].to_list() == asked["driver_id"].to_list()
    rows = history(ran.folder).with_columns(pl.col("datetime").dt.cast_time_unit("us"))
    for row in training.iter_rows(named=True):
        known = rows.filter(pl.col("driver_id") == row["driver_id"], pl.col("datetime") <= row["event_timestamp"])
        latest = known.sort("datetime").tail(1)
        expected = latest.row(0, named=True) if latest.height else dict.fromkeys(FEATURES)
        assert {name: row[f"driver_statistics__{name}"] for name in FEATURES} == {n: expected[n] for n in FEATURES}


def test_online_answers_are_the_last_day(ran: Ran) -> None:
    values, statuses = (ast.literal_eval(line) for line in ran.said.splitlines()[-2:])
    last = history(ran.folder).sort("datetime").group_by("driver_id", maintain_order=True).last()
    for position, driver in enumerate((1001, 1002)):
        row = last.row(by_predicate=pl.col("driver_id") == driver, named=True)
        assert [values[f"driver_statistics:{name}"][position] for name in FEATURES] == [row[name] for name in FEATURES]
    assert {found[2] for name, found in statuses.items() if name != "driver_id"} == {"NOT_FOUND"}


def test_the_rows_are_in_redis_and_another_program_reads_them_over_http(ran: Ran, redis_server: RedisServer) -> None:
    assert int(redis_server.cli("DBSIZE")) >= 50
    body = json.dumps({"features": ["driver_statistics:avg_daily_trips"], "entities": {"driver_id": [1001]}}).encode()
    request = urllib.request.Request(f"http://{ran.online.address}/get-online-features", body)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    values, _ = (ast.literal_eval(line) for line in ran.said.splitlines()[-2:])
    assert found["results"][1]["values"] == [values["driver_statistics:avg_daily_trips"][0]]


def test_the_jobs_are_everybodys(ran: Ran) -> None:
    with urllib.request.urlopen(f"http://{ran.core.address}/api/v1/jobs?include_terminated=true", timeout=10) as answer:
        jobs = json.load(answer)["items"]
    assert sorted(job["status"] for job in jobs) == ["COMPLETED", "COMPLETED"]
    assert {table for job in jobs for table in job["tables"]} == {"driver_statistics"}


def test_it_is_said_where_jobs_run(ran: Ran) -> None:
    assert "spark_launcher='k8s'" in ran.warned
    assert "in this process" in ran.warned
