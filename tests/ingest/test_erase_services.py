"""Erasure where registry, online rows and histories are services: Redis with its files, roles, places that are away."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.erasing import KEY, OBJECTS, holding, orders, rides, values
from tests.servers.redis import RedisServer
from tests.servers.services import Service, running
from tiffin import Client
from tiffin.errors import PermissionDenied
from tiffin.registry.erasures import Told, Tombstones


def _filled(client: Client) -> None:
    client.apply([type(each).from_spec(each.to_spec()) for each in OBJECTS])
    client.push("rides", rides("aa", KEY, "bb"))
    client.push("orders", orders((KEY, 1), ("aa", 1), (KEY, 2)))


def test_redis_keeps_nothing_in_its_dump_nor_in_its_append_only_file(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--save", "3600 1")
    server.start()
    try:
        client = Client(home=str(tmp_path / "home"), online_store=server.uri)
        _filled(client)
        subprocess.run(["redis-cli", "-p", str(server.port), "SAVE"], check=True, capture_output=True)
        files = {Path(path).name.partition(".")[0] for path in holding(tmp_path / "redis")}
        assert files == {"dump", "appendonly"}
        report = client.erase("rider", KEY)
        assert report.state == "DONE"
        assert (report.removed["online rides"], report.removed["online orders"]) == (1, 2)
        assert not any("Redis" in line for line in report.not_reached)
        assert holding(tmp_path / "redis") == []
        assert holding(tmp_path / "home") == []
        assert values(client, KEY, "aa") == [None, 0.0]
        client.close()
    finally:
        server.stop()


def test_a_redis_that_is_away_remains_and_is_done_later(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    server.start()
    try:
        client = Client(home=str(tmp_path / "home"), online_store=server.uri)
        _filled(client)
        server.stop()
        report = client.erase("rider", KEY)
        assert report.state == "RUNNING"
        assert set(report.remaining) == {"online rides", "online orders", "files of the online store"}
        assert report.removed["offline rides"] == 1
        server.start()
        assert client.erase("rider", KEY).removed == {"online rides": 1, "online orders": 2}
        assert holding(tmp_path / "redis") == []
        assert client.list_erasures()[0]["removed"]["offline rides"] == 1
        client.close()
    finally:
        server.stop()


def test_through_the_registry_service_only_hashes_travel(tmp_path: Path, postgres: Any, redis_uri: str) -> None:
    url = postgres.database()
    core = Service("core", tmp_path / "core", registry=url)
    with running(core):
        options = {"core_url": core.address, "online_store": redis_uri, "offline_location": str(tmp_path / "offline")}
        with (
            Client(options, home=str(tmp_path / "one")) as client,
            Client(options, home=str(tmp_path / "two")) as other,
        ):
            _filled(client)
            other.list_feature_tables()
            report = client.erase("rider", KEY)
            assert report.state == "DONE"
            assert other.push("rides", rides(KEY, "aa")).erased == 1  # it learned of it by the registry's version
            assert client.list_erasures()[0]["removed"] == report.removed
            assert any("registry service" in line for line in report.not_reached)
        assert holding(tmp_path) == []
    dump = subprocess.run(["pg_dump", url], check=False, capture_output=True)
    assert KEY.encode() not in dump.stdout


def test_who_may_not_know_the_keys_may_not_write() -> None:
    told = Tombstones(Told(3, "", (), ("rides",)))
    with pytest.raises(PermissionDenied, match="rides"):
        told.of("rides", "driver_id")
    assert told.of("other", "driver_id") == frozenset()
