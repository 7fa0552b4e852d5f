"""Writers that race, and writers and servers that are killed: the greatest rank stays, nothing acknowledged goes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import redis

from tests.online.redis_races import ROWS, check_whole, kill_writer, race, start_worker, stored
from tests.online.redis_servers import Cutter
from tests.online.workers import TABLE, value
from tests.servers.redis import DURABLE, RedisServer
from tiffin.errors import Unavailable
from tiffin.online.redis import open_store


@pytest.fixture
def client(redis_uri: str) -> redis.Redis:
    return redis.Redis.from_url(redis_uri)


@pytest.mark.parametrize(("keys", "rounds"), [(1, 300), (50, 30)])
def test_eight_processes_leave_the_greatest_rank(redis_uri: str, client: redis.Redis, keys: int, rounds: int) -> None:
    assert race(redis_uri, client, keys=keys, rounds=rounds) >= rounds * 8
    client.close()


def test_killed_writers_leave_whole_rows(redis_uri: str, client: redis.Redis) -> None:
    start = 1
    for seed in range(4):
        start = kill_writer(redis_uri, client, start=start, keys=(1, 30, 700, 2_500)[seed], seed=seed)
        client.flushall()
    client.close()


def test_a_killed_server_has_every_acknowledged_write(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, *DURABLE)
    server.start()
    worker = start_worker("write_for_ever", server.uri, 1, 20)
    assert worker.stdout is not None
    try:
        acknowledged = 0
        for _ in range(3):
            for _ in range(5):
                line = worker.stdout.readline().strip()
                acknowledged = int(line) if line.isdigit() else acknowledged
            server.kill()
            # It says that the server is away, and goes on by itself once it is back; what it said before counts.
            while (line := worker.stdout.readline().strip()).isdigit():
                acknowledged = int(line)
            server.start()
            client = redis.Redis.from_url(server.uri)
            check_whole(client, 20, acknowledged)
            client.close()
            while not (line := worker.stdout.readline().strip()).isdigit():
                assert line.startswith("unavailable Unavailable")
    finally:
        worker.kill()
        worker.stdout.close()
        worker.wait()
        server.kill()


def test_a_flush_of_scripts_while_writing_loses_and_miscounts_nothing(redis_uri: str, client: redis.Redis) -> None:
    store = open_store(redis_uri)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            client.script_flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        for event in range(1, 6):
            result = store.write(TABLE, [(b"k%d" % key, value(event)) for key in range(3_000)])
            assert (result.written, result.skipped) == (3_000, 0)
    finally:
        done.set()
        flusher.join()
    assert stored(client, 3_000) == [value(5)] * 3_000
    assert store.ensure(TABLE, b"layout") == 0
    client.script_flush()
    assert store.ensure(TABLE, b"other") == 1
    store.close()
    client.close()


def test_connections_cut_anywhere_leave_the_greatest_rank(redis_uri: str, redis_server: RedisServer) -> None:
    client = redis.Redis.from_url(redis_uri)
    with Cutter(redis_server.port, chance=0.1, anywhere=True) as proxy:
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0")
        failed = 0
        for event in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8):
            rows = [(b"k%d" % key, value(event, b"%d" % event)) for key in range(300)]
            while True:
                try:
                    result = store.write(TABLE, rows)
                except Unavailable:
                    failed += 1
                    continue
                assert result.written + result.skipped == 300
                break
        store.close()
        assert proxy.cuts > 0
    assert stored(client, 300) == [value(9, b"9")] * 300
    client.close()


def test_a_stopped_server_is_unavailable_in_time(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        store = open_store(f"{server.uri}?timeout=0.5")
        store.write(TABLE, [(b"k", value(1))])
        os.kill(server.pid, 19)
        for call in (
            lambda: store.read(TABLE, [b"k"]),
            lambda: store.write(TABLE, [(b"k", value(2))]),
            lambda: store.ensure(TABLE, b"layout"),
            lambda: store.drop(TABLE),
            lambda: list(store.scan(TABLE)),
        ):
            begin = time.monotonic()
            with pytest.raises(Unavailable, match=r"did not answer in 0\.5 s"):
                call()
            assert time.monotonic() - begin < 2.5
        os.kill(server.pid, 18)
        assert store.read(TABLE, [b"k"])[0] in {value(1), value(2)}
        store.close()
    finally:
        server.kill()


def test_threads_and_forks_use_one_store(redis_uri: str, client: redis.Redis) -> None:
    store = open_store(redis_uri)
    store.write(TABLE, [(b"k0", value(1))])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # In the child alone: whatever happens, it must not come back into the test.
        told = b"failed"
        try:
            store.write(TABLE, [(b"k1", value(2))])
            told = b"ok" if store.read(TABLE, [b"k0", b"k1"]) == [value(1), value(2)] else b"wrong"
        finally:
            os.write(write, told)
            os._exit(0)
    for _ in range(200):
        assert store.read(TABLE, [b"k0"]) == [value(1)]
    assert os.read(read, 10) == b"ok"
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert client.get(ROWS + b"k1") == value(2)
    store.close()
    client.close()


def test_drop_while_writers_write(redis_uri: str, client: redis.Redis) -> None:
    store = open_store(redis_uri)
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            store.write(TABLE, [(b"k%d" % key, value(number)) for key in range(number % 100, 2_000)])
            begun.set()
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(60)
        dropped = [store.drop(TABLE) for _ in range(8)]
    finally:
        done.set()
        writer.join()
    assert max(dropped) > 0
    store.drop(TABLE)
    assert client.dbsize() == 0
    store.close()
    client.close()
