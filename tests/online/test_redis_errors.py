"""What can be wrong with a server, and the error that says so: typed, with a hint, in time, and without the secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme

from tests.online.redis_races import ROWS
from tests.online.redis_servers import PASSWORD, TlsRedis
from tests.online.workers import TABLE, value
from tests.servers.process import free_port
from tests.servers.redis import RedisCluster, RedisServer
from tiffin.errors import (
    CorruptData,
    EvictionWarning,
    FailedPrecondition,
    InvalidConfig,
    MissingDependency,
    StorageError,
    TiffinError,
    Unavailable,
)
from tiffin.online import redis as plugin
from tiffin.online.redis import open_store

ROW = (b"k", value(1))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    server = TlsRedis(tmp_path_factory.mktemp("tls"))
    server.start()
    yield server
    server.kill()


def failures(uri: str) -> list[TiffinError]:
    """What a read, a write and a read from an event loop raise."""
    store = open_store(uri)
    found = []
    calls: list[Callable[[], object]] = [
        lambda: store.read(TABLE, [b"k"]),
        lambda: store.write(TABLE, [ROW]),
        lambda: asyncio.run(_once(uri)),
    ]
    for call in calls:
        begin = time.monotonic()
        with pytest.raises(TiffinError) as caught:
            call()
        assert time.monotonic() - begin < 6
        found.append(caught.value)
        _shows_no_secret(caught.value)
    store.close()
    return found


async def _once(uri: str) -> object:
    store = open_store(uri)
    try:
        return await store.read_async([(TABLE, [b"k"])])
    finally:
        store.close()
        await asyncio.sleep(0)


def _shows_no_secret(error: BaseException | None) -> None:
    while error is not None:
        shown = f"{error} {error!r} {getattr(error, 'hint', '')}"
        assert "s3cret" not in shown
        error = error.__cause__ or error.__context__


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    for uri in (
        f"redis://:s3cret@127.0.0.1:{port}",
        f"redis+cluster://:s3cret@127.0.0.1:{port}",
        f"redis+sentinel://:s3cret@127.0.0.1:{port}/mine",
        f"redis+unix://{tmp_path}/none",
    ):
        for error in failures(uri):
            assert isinstance(error, Unavailable)
            assert "cannot be reached" in error.message
            assert error.hint


def test_no_password_and_a_wrong_one(tls_redis: TlsRedis) -> None:
    end = f"127.0.0.1:{tls_redis.tls_port}/0?ssl_ca_certs={tls_redis.authority}"
    for user in ("", ":s3cret-but-wrong@", "nobody:s3cret-too@"):
        for error in failures(f"rediss://{user}{end}"):
            assert isinstance(error, Unavailable)
            assert "refused" in error.message
            assert "redis_password" in str(error.hint)


def test_a_password_where_none_is_asked_for(server: RedisServer) -> None:
    for error in failures(f"redis://:s3cret@127.0.0.1:{server.port}"):
        assert isinstance(error, Unavailable)
        assert "refused" in error.message


def test_a_user_of_its_own(server: RedisServer) -> None:
    server.cli("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~tiffin{*", "+@read", "+@write", "+@scripting", "+info")
    server.cli("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~tiffin{*", "+@read", "+@connection")
    server.cli("ACL", "SETUSER", "app", "+@connection")
    secret = quote(PASSWORD, safe="")
    store = open_store(f"redis://app:{secret}@127.0.0.1:{server.port}/0")
    store.ensure(TABLE, b"layout")
    store.write(TABLE, [ROW])
    store.write_mark(TABLE, b"mark")
    assert list(store.scan(TABLE)) == [ROW]
    store.close()
    store = open_store(f"redis://reader:{secret}@127.0.0.1:{server.port}/0")
    assert store.read(TABLE, [b"k"]) == [value(1)]
    with pytest.raises(StorageError, match="may not do this") as caught:
        store.write(TABLE, [ROW])
    assert "+@write" in str(caught.value.hint)
    _shows_no_secret(caught.value)
    store.close()


def test_an_authority_that_is_not_known(tls_redis: TlsRedis, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    start = f"rediss://:s3cret@127.0.0.1:{tls_redis.tls_port}/0"
    for uri in (start, f"{start}?ssl_ca_certs={other}"):
        for error in failures(uri):
            assert isinstance(error, Unavailable)
            assert "TLS with Redis" in error.message
            assert "ssl_ca_certs" in str(error.hint)


def test_tls_to_a_server_without_and_the_other_way(server: RedisServer, tls_redis: TlsRedis) -> None:
    for error in failures(f"rediss://127.0.0.1:{server.port}?timeout=1"):
        assert isinstance(error, Unavailable)
        assert "else write redis://" in str(error.hint)
    for error in failures(f"redis://127.0.0.1:{tls_redis.tls_port}"):
        assert isinstance(error, Unavailable)
        assert "else write rediss://" in str(error.hint)


def test_a_certificate_file_that_is_not_there() -> None:
    with pytest.raises(InvalidConfig, match=r"no file /nowhere/ca\.pem"):
        open_store("rediss://127.0.0.1?ssl_ca_certs=/nowhere/ca.pem")


def test_no_verification_where_it_is_turned_off(tls_redis: TlsRedis) -> None:
    secret = quote(PASSWORD, safe="")
    store = open_store(f"rediss://:{secret}@127.0.0.1:{tls_redis.tls_port}/0?ssl_verify=false")
    assert store.read(TABLE, [b"none"]) == [None]
    store.close()


def test_a_full_server_keeps_what_it_has(server: RedisServer) -> None:
    store = open_store(server.uri)
    store.write(TABLE, [ROW])
    server.cli("CONFIG", "SET", "maxmemory", "1500000")
    big = [(b"%d" % number, value(1, bytes(50_000))) for number in range(200)]
    with pytest.raises(StorageError, match="is full") as caught:
        store.write(TABLE, big)
    assert "maxmemory" in str(caught.value.hint)
    assert store.read(TABLE, [b"k", b"0"]) == [value(1), value(1, bytes(50_000))]
    assert store.drop(TABLE) > 1
    assert store.write(TABLE, [ROW]).written == 1
    store.close()


def test_a_server_that_evicts_is_warned_of_once(server: RedisServer) -> None:
    server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = open_store(server.uri)
    assert store.ensure(TABLE, b"layout") == 0  # no limit, nothing to fear
    server.cli("CONFIG", "SET", "maxmemory", "100mb")
    assert store.ensure(TABLE, b"layout") == 0  # asked once
    store.close()
    store = open_store(server.uri)
    with pytest.warns(EvictionWarning, match="allkeys-lru"):
        store.ensure(TABLE, b"layout")
    assert store.ensure(TABLE, b"other") == 1
    store.close()


def test_a_replica_takes_no_writes(server: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}")
    replica.start()
    store = open_store(replica.uri)
    with pytest.raises(Unavailable, match="is a replica"):
        store.write(TABLE, [ROW])
    with pytest.raises(Unavailable, match="is a replica"):
        store.write_mark(TABLE, b"mark")
    store.close()
    replica.kill()


def test_a_server_that_loads(server: RedisServer, tmp_path: Path) -> None:
    server.cli("DEBUG", "SLEEP", "0")
    client = redis.Redis(port=server.port)
    for start in range(0, 60_000, 2_000):
        client.mset({b"x%d" % number: bytes(200) for number in range(start, start + 2_000)})
    client.save()
    client.close()
    server.kill()
    slow = RedisServer(
        tmp_path / "server", "--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"
    )
    slow._ready = lambda: "LOADING" in slow.cli("GET", "x")
    slow.start()
    for error in failures(slow.uri):
        assert isinstance(error, Unavailable)
        assert "loading" in error.message
    slow.kill()


def test_one_node_of_a_cluster_as_a_server(redis_cluster_server: RedisCluster) -> None:
    store = open_store(redis_cluster_server.nodes[0].uri)
    with pytest.raises(InvalidConfig, match="node of a cluster") as caught:
        store.read(TABLE, [b"%d" % number for number in range(20)])
    assert "redis+cluster://" in str(caught.value.hint)
    store.close()


def test_a_server_as_a_cluster(server: RedisServer) -> None:
    for error in failures(f"redis+cluster://127.0.0.1:{server.port}"):
        assert isinstance(error, InvalidConfig)
        assert "no cluster" in error.message


def test_a_cluster_that_has_lost_a_node(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path)
    cluster.start()
    store = open_store(f"{cluster.uri}?timeout=1")
    rows = [(b"%d" % number, value(number)) for number in range(50)]
    try:
        store.write(TABLE, rows)
        cluster.nodes[1].kill()
        deadline = time.monotonic() + 10
        while "cluster_state:fail" not in cluster.nodes[0].cli("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
            begin = time.monotonic()
            with pytest.raises(Unavailable):
                store.read(TABLE, [key for key, _ in rows])
            assert time.monotonic() - begin < 8
        with pytest.raises(Unavailable):
            store.write(TABLE, rows)
        with pytest.raises(Unavailable):
            asyncio.run(_read_all(f"{cluster.uri}?timeout=1", rows))
    finally:
        store.close()
        cluster.stop()


async def _read_all(uri: str, rows: list[tuple[bytes, bytes]]) -> None:
    store = open_store(uri)
    try:
        await store.read_async([(TABLE, [key for key, _ in rows])])
    finally:
        store.close()
        await asyncio.sleep(0)


def test_a_database_that_is_not_there(server: RedisServer) -> None:
    for error in failures(f"redis://127.0.0.1:{server.port}/99"):
        assert isinstance(error, InvalidConfig)
        assert "no database 99" in error.message


def test_something_else_under_a_key(server: RedisServer) -> None:
    client = redis.Redis(port=server.port)
    client.lpush(ROWS + b"k", b"x")
    client.set("tiffin{default/drivers}/layouts", "x")
    client.close()
    store = open_store(server.uri)
    for call in (
        lambda: store.read(TABLE, [b"k"]),
        lambda: store.write(TABLE, [ROW]),
        lambda: store.ensure(TABLE, b"layout"),
    ):
        with pytest.raises(CorruptData, match="something else"):
            call()
    store.close()


def test_a_closed_store_says_so(redis_uri: str) -> None:
    store = open_store(redis_uri)
    store.close()
    store.close()
    with pytest.raises(FailedPrecondition, match="is closed"):
        store.read(TABLE, [b"k"])
    with pytest.raises(FailedPrecondition, match="is closed"):
        asyncio.run(store.read_async([(TABLE, [b"k"])]))


@pytest.mark.parametrize("driver", ["redis", "hiredis"])
def test_without_the_driver_the_message_says_what_to_install(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tiffin.online.redis_")]:
        if name not in {"tiffin.online.redis_address", "tiffin.online.redis_servers"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingDependency, match=r"tiffin\[redis\]"):
        plugin.open_store("redis://:s3cret@host")


def test_the_driver_is_not_loaded_before_a_store_is_opened() -> None:
    code = "import sys, tiffin.online.redis, tiffin.online.redis_address; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
