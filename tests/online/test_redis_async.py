"""Reads from event loops: the same values as from threads, shared connections, bounded waits."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from tests.online.redis_servers import Cutter, TlsRedis
from tests.online.workers import TABLE, value
from tests.servers.redis import RedisServer
from tiffin.errors import Unavailable
from tiffin.online.base import AsyncReadable, Marks, Scannable, Sweepable, TableId
from tiffin.online.redis import open_store
from tiffin.online.redis_store import RedisStore

OTHER = TableId("other", "riders")
ROWS = [(b"%d" % number, value(number, bytes(number % 50))) for number in range(1_200)]
KEYS = [key for key, _ in ROWS]


async def closed(store: RedisStore) -> None:
    store.close()
    await asyncio.sleep(0.01)


def connections(server: RedisServer) -> int:
    return int(server.cli("INFO", "clients").partition("connected_clients:")[2].split()[0])


def test_what_the_store_can_do(redis_uri: str) -> None:
    store = open_store(redis_uri)
    assert isinstance(store, AsyncReadable)
    assert isinstance(store, Marks)
    assert isinstance(store, Scannable)
    assert not isinstance(store, Sweepable)
    store.close()


@pytest.mark.parametrize("uri", ["redis_uri", "redis_cluster_uri"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_values_of_many_tables_in_order(uri: str, loop: object, request: pytest.FixtureRequest) -> None:
    store = open_store(request.getfixturevalue(uri))
    store.write(TABLE, ROWS)
    store.write(OTHER, [(b"1", value(7))])

    async def read() -> None:
        assert await store.read_async([]) == []
        assert await store.read_async([(TABLE, [])]) == [[]]
        wanted = [(TABLE, [b"3", b"none", b"3"]), (OTHER, [b"1"]), (TABLE, []), (OTHER, [b"2"])]
        assert await store.read_async(wanted) == [
            [value(3, bytes(3)), None, value(3, bytes(3))],
            [value(7)],
            [],
            [None],
        ]
        assert await store.read_async([(TABLE, KEYS)]) == [[held for _, held in ROWS]]
        big = [(b"big%d" % number, value(1, os.urandom(1 << 20))) for number in range(3)]
        store.write(TABLE, big)
        assert await store.read_async([(TABLE, [key for key, _ in big])]) == [[held for _, held in big]]
        await closed(store)

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(read())


def test_a_loop_has_one_connection_however_many_ask(redis_uri: str, redis_server: RedisServer) -> None:
    store = open_store(redis_uri)
    store.write(TABLE, ROWS)
    before = connections(redis_server)

    async def ask(number: int) -> None:
        key, held = ROWS[number % len(ROWS)]
        assert await store.read_async([(TABLE, [key])]) == [[held]]

    async def read() -> None:
        await asyncio.gather(*[ask(number) for number in range(3_000)])
        assert connections(redis_server) == before + 1
        await closed(store)

    asyncio.run(read())


def test_loops_of_several_threads(redis_uri: str) -> None:
    store = open_store(redis_uri)
    store.write(TABLE, ROWS)
    right: list[int] = []

    async def read() -> None:
        for key, held in ROWS[:200]:
            assert await store.read_async([(TABLE, [key])]) == [[held]]
        # The loop is about to end: what it holds goes first.
        store._reader._readers[asyncio.get_running_loop()].close()
        await asyncio.sleep(0.01)

    def run() -> None:
        asyncio.run(read())
        right.append(1)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 6
    store.close()


def test_who_gives_up_waiting_disturbs_nobody(redis_uri: str) -> None:
    store = open_store(redis_uri)
    store.write(TABLE, ROWS)

    async def read() -> None:
        for _ in range(100):
            impatient = [asyncio.ensure_future(store.read_async([(TABLE, KEYS[:100])])) for _ in range(5)]
            await asyncio.sleep(0)
            for task in impatient[::2]:
                task.cancel()
            assert await store.read_async([(TABLE, [b"7"])]) == [[value(7, bytes(7))]]
            await asyncio.gather(*impatient, return_exceptions=True)
        await closed(store)

    asyncio.run(read())


def test_a_stopped_server_is_unavailable_in_time_to_all_that_wait(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    store = open_store(f"{server.uri}?timeout=0.5")
    store.write(TABLE, ROWS)

    async def read() -> None:
        assert await store.read_async([(TABLE, [b"1"])]) == [[value(1, bytes(1))]]
        os.kill(server.pid, 19)
        begin = time.monotonic()
        asked = [store.read_async([(TABLE, [b"1"])]) for _ in range(50)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in found} == {Unavailable}
        assert time.monotonic() - begin < 3
        os.kill(server.pid, 18)
        assert await store.read_async([(TABLE, [b"1"])]) == [[value(1, bytes(1))]]
        await closed(store)

    try:
        asyncio.run(read())
    finally:
        server.kill()


def test_it_comes_back_after_the_server_does(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    server.start()
    store = open_store(server.uri)
    store.write(TABLE, ROWS)

    async def read() -> None:
        for _ in range(3):
            assert await store.read_async([(TABLE, [b"5"])]) == [[value(5, bytes(5))]]
            server.kill()
            with pytest.raises(Unavailable, match="cannot be reached"):
                await store.read_async([(TABLE, [b"5"])])
            server.start()
        await closed(store)

    try:
        asyncio.run(read())
    finally:
        server.kill()


@pytest.mark.parametrize("anywhere", [False, True])
def test_cut_connections_give_right_values_or_unavailable(
    redis_uri: str, redis_server: RedisServer, anywhere: bool
) -> None:
    open_store(redis_uri).write(TABLE, ROWS)
    with Cutter(redis_server.port, chance=0.05, anywhere=anywhere) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        unavailable = right = 0

        async def ask(number: int) -> None:
            nonlocal unavailable, right
            keys = ROWS[number % 1_000 : number % 1_000 + 1 + number % 150]
            try:
                found = await store.read_async([(TABLE, [key for key, _ in keys])])
            except Unavailable:
                unavailable += 1
                return
            assert found == [[held for _, held in keys]]
            right += 1

        async def read() -> None:
            for start in range(0, 1_000, 10):
                await asyncio.gather(*[ask(number) for number in range(start, start + 10)])
            await closed(store)

        asyncio.run(read())
        assert proxy.cuts > 0
        assert right > 500
        assert right + unavailable == 1_000


def test_over_tls_and_behind_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = TlsRedis(tmp_path / "server", "--unixsocket", str(path))
    server.start()
    secret = server.uri.partition("//")[2].partition("@")[0]
    stores = [open_store(server.uri), open_store(f"redis+unix://{secret}@{path}?db=0")]
    try:
        stores[0].write(TABLE, ROWS[:3])

        async def read(store: RedisStore) -> None:
            assert await store.read_async([(TABLE, KEYS[:3])]) == [[held for _, held in ROWS[:3]]]
            await closed(store)

        for store in stores:
            assert store.read(TABLE, KEYS[:3]) == [held for _, held in ROWS[:3]]
            asyncio.run(read(store))
    finally:
        server.kill()


def test_a_server_that_speaks_nonsense_is_given_up(redis_uri: str) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def read() -> None:
        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = open_store(f"redis://127.0.0.1:{port}?timeout=1")
        with pytest.raises(Unavailable):
            await store.read_async([(TABLE, [b"k"])])
        await closed(store)
        server.close()
        await asyncio.sleep(0.05)

    asyncio.run(read())
