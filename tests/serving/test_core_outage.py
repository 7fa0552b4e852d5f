"""The registry service while its database is away: reads go on from what is held, changes are told to wait."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import PostgresServer
from tests.servers.service import Service, core_service
from tests.serving.gates import until
from tiffin.config import Config
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import InvalidConfig, Unavailable
from tiffin.registry import snapshot_file
from tiffin.registry.remote import RemoteRegistry
from tiffin.remote.http import Connection
from tiffin.serving.core.app import create_app
from tiffin.serving.core.state import SNAPSHOT_NAME, Core
from tiffin.testing.registry import driver, trips

API = "/api/v1"
DEFAULT = f"{API}/projects/default"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, which it may crash."""
    server = PostgresServer(durable=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def service(server: PostgresServer, tmp_path: Path) -> Iterator[Service]:
    service = core_service(tmp_path / "core", server.database())
    service.start()
    yield service
    service.kill()


def ready(service: Service, status: int) -> None:
    until(lambda: service.request("GET", "/ready").status_code == status, seconds=30)


def apply(service: Service, *objects: Entity | FeatureTable) -> int:
    body = {"objects": [each.to_document() for each in objects]}
    return service.request("POST", f"{DEFAULT}/apply", json=body).status_code


def test_reads_go_on_and_changes_wait_while_the_database_is_away(server: PostgresServer, service: Service) -> None:
    assert apply(service, driver(), trips()) == 200
    version = service.request("GET", f"{API}/version").json()
    kept = service.folder / "home" / SNAPSHOT_NAME
    until(lambda: (held := snapshot_file.load(kept)) is not None and held.version == version["version"])
    server.crash()
    ready(service, 503)
    assert service.request("GET", "/ready").headers["retry-after"] == "1"

    def reads() -> None:
        health = service.request("GET", "/health")
        assert (health.status_code, "away" in health.json()["status"]) == (200, True)
        assert service.request("GET", f"{DEFAULT}/feature-tables/trips").json()["spec"]["name"] == "trips"
        assert len(service.request("GET", f"{API}/search").json()["items"]) == 2
        seen = service.request("GET", f"{API}/version").json()
        assert (seen["version"], seen["view"]) == (version["version"], version["view"])
        assert seen["age"] is None or seen["age"] > version["age"]
        contents = service.request("GET", f"{API}/contents").json()
        assert (contents["complete"], len(contents["contents"]["records"])) == (True, 2)
        newer = {"since": version["version"] + 1, "view": version["view"]}
        assert service.request("GET", f"{API}/contents", params=newer).status_code == 503
        for path in (f"{DEFAULT}/feature-tables/trips/history", f"{API}/jobs", f"{API}/dump"):
            answer = service.request("GET", path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
        answer = service.request("POST", f"{DEFAULT}/apply", json={"objects": [driver(description="x").to_document()]})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers

    reads()
    assert service.request("GET", "/health").json()["age"] > 0
    # A service that starts meanwhile knows from its file what the one before it knew.
    assert service.stop() == 0
    service.start()
    reads()
    assert service.request("GET", "/health").json()["age"] is None
    server.start()
    ready(service, 200)
    assert apply(service, driver(description="x")) == 200
    history = service.request("GET", f"{DEFAULT}/entities/driver_id/history").json()
    assert [each["revision"] for each in history] == [1, 2]


def test_a_client_goes_on_through_an_outage(server: PostgresServer, service: Service) -> None:
    connection = Connection(service.url, timeout=2)
    registry = RemoteRegistry(connection, recheck=0)
    registry.apply([driver(), trips()])
    server.crash()
    ready(service, 503)
    assert registry.get(FeatureTable, "trips") == trips()
    assert registry.projects() == ["default"]
    # What the service holds is as old as the database's last word, so that writers know to wait.
    time.sleep(2.5)
    assert (registry.projects(), registry.age > 2) == (["default"], True)
    with pytest.raises(Unavailable):
        registry.apply(driver(description="x"))
    server.start()
    ready(service, 200)
    registry.apply(driver(description="x"))
    assert (registry.get(Entity, "driver_id").description, registry.age < 2) == ("x", True)
    connection.close()


def test_without_a_file_there_is_nothing_to_answer_from(server: PostgresServer, tmp_path: Path) -> None:
    service = core_service(tmp_path / "core", server.database())
    server.crash()
    service.start()
    try:
        for path in ("/health", "/ready", f"{DEFAULT}/entities", f"{API}/version"):
            assert service.request("GET", path).status_code == 503
        assert service.request("GET", "/metrics").status_code == 200
        server.start()
        ready(service, 200)
        assert apply(service, driver()) == 200
    finally:
        service.kill()


def test_the_file_is_private_and_follows_every_change(tmp_path: Path) -> None:
    service = core_service(tmp_path / "core", f"sqlite:///{tmp_path / 'registry.db'}")
    path = service.folder / "home" / SNAPSHOT_NAME
    service.start()
    try:
        for version in (1, 2):
            assert apply(service, driver(description=str(version))) == 200
            until(lambda wanted=version: (held := snapshot_file.load(path)) is not None and held.version == wanted)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        service.kill()


def test_a_file_that_is_damaged_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / SNAPSHOT_NAME).write_bytes(b"tiffin-snapshot 1 half")
    core = Core(Config({"home": str(home)}))
    core.start()
    assert core.snapshot().version == 0
    assert "not used" in caplog.text
    core.close()


def test_what_can_never_work_keeps_the_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig):
        create_app(Config({"home": str(tmp_path), "auth": "maybe"}))
    core = Core(Config({"home": str(tmp_path), "registry": "nosuch://x"}))
    with pytest.raises(InvalidConfig, match="nosuch"):
        core.start()
    core.close()
