"""The store on Redis keeps the contract: on one server, on a cluster, over TLS, and over connections that are cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from tests.online.redis_servers import PASSWORD, Cutter, TlsRedis
from tests.servers.redis import RedisServer
from tiffin.errors import Unavailable
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.redis import open_store
from tiffin.online.redis_address import parse
from tiffin.online.redis_store import RedisStore
from tiffin.testing.online import OnlineSuite

#: Where processes of the suite's race find the server.
_PLACE = "REDIS_OF_THE_SUITE"
_SIDE_DOOR = "REDIS_BEHIND_THE_PROXY"


def prefix_of(place: Path) -> str:
    """The stores of all places share a server, under a prefix each."""
    return blake2b(str(place).encode(), digest_size=8).hexdigest()


def row_prefix(place: Path, table: TableId) -> bytes:
    """What keys of rows begin with, made here and not by the store."""
    return f"{prefix_of(place)}{{}}/{quote(table.project)}/{quote(table.table)}/".encode()


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    server = TlsRedis(tmp_path_factory.mktemp("tls"))
    server.start()
    yield server
    server.kill()


class RedisSuite(OnlineSuite):
    # Redis forgets by itself: see test_redis_expiry.py.
    test_sweep_takes_what_is_past_its_span_and_no_more = None  # type: ignore[assignment]

    def open(self, place: Path) -> OnlineStore:
        uri = os.environ[_PLACE]
        return open_store(f"{uri}{'&' if '?' in uri else '?'}prefix={prefix_of(place)}")

    def client(self) -> redis.Redis | redis.RedisCluster:
        """The side door: the bare driver."""
        return redis.Redis.from_url(os.environ.get(_SIDE_DOOR, os.environ[_PLACE]))

    def peek(self, place: Path, table: TableId) -> dict[bytes, bytes]:
        client = self.client()
        prefix = row_prefix(place, table)
        found = {key[len(prefix) :]: client.get(key) for key in client.scan_iter(count=1000) if key.startswith(prefix)}
        client.close()
        return found

    def poke(self, place: Path, table: TableId, key: bytes, value: bytes) -> None:
        client = self.client()
        assert client.set(row_prefix(place, table) + key, value, xx=True)
        client.close()


class TestRedis(RedisSuite):
    histories = 30

    @pytest.fixture(autouse=True)
    def _server(self, redis_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_PLACE, redis_uri)


class PatientStore(RedisStore):
    """Tries again what was not available, as a caller would."""

    def _run(self, work: Any, *, again: bool = True) -> Any:
        for _ in range(50):
            with suppress(Unavailable):
                return super()._run(work, again=again)
        return super()._run(work, again=again)


class TestRedisOverCutConnections(RedisSuite):
    """Requests are lost now and then; each is either answered in the end, or raises Unavailable and may be repeated."""

    crosses_processes = False  # they do: that race is run on the server itself
    histories = 12

    @pytest.fixture(autouse=True)
    def _server(self, redis_uri: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with Cutter(redis_server.port, chance=0.02) as proxy:
            monkeypatch.setenv(_PLACE, f"redis://127.0.0.1:{proxy.port}/0")
            monkeypatch.setenv(_SIDE_DOOR, redis_uri)
            yield

    def open(self, place: Path) -> OnlineStore:
        return PatientStore(parse(f"{os.environ[_PLACE]}?prefix={prefix_of(place)}"))


class TestRedisTls(RedisSuite):
    crosses_processes = False  # they do: that race is run without TLS
    histories = 3

    @pytest.fixture(autouse=True)
    def _server(self, tls_redis: TlsRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_PLACE, tls_redis.uri)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(os.environ[_PLACE], password=PASSWORD)


class TestRedisCluster(RedisSuite):
    histories = 8

    @pytest.fixture(autouse=True)
    def _server(self, redis_cluster_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_PLACE, redis_cluster_uri)

    def client(self) -> redis.RedisCluster:
        host, _, port = os.environ[_PLACE].partition("?")[0].rpartition("//")[2].partition(":")
        return redis.RedisCluster(host=host, port=int(port))
