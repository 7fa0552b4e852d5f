"""A cluster whose slots are on the move, or whose state is bad for a while: nothing is lost, and nothing hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from tests.online.redis_races import ROWS
from tests.online.workers import TABLE, value
from tests.servers.redis import RedisCluster, RedisServer
from tiffin.errors import Unavailable
from tiffin.online.redis import open_store
from tiffin.online.redis_store import RedisStore

KEYS = [b"%d" % number for number in range(600)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path)
    cluster.start()
    yield cluster
    cluster.stop()


def rows(event: int) -> list[tuple[bytes, bytes]]:
    return [(key, value(event, b"%d" % event)) for key in KEYS]


def owner(cluster: RedisCluster, slot: int) -> RedisServer:
    for first, last, (_, port, *_), *_ in redis.Redis(port=cluster.nodes[0].port).execute_command("CLUSTER SLOTS"):
        if first <= slot <= last:
            return next(node for node in cluster.nodes if node.port == port)
    raise AssertionError(f"nobody has slot {slot}")


def name(node: RedisServer) -> str:
    return node.cli("CLUSTER", "MYID").strip()


class Move:
    """A slot on its way from its owner to another node: begun, half done, done."""

    def __init__(self, cluster: RedisCluster, slot: int) -> None:
        self.slot = str(slot)
        self.cluster = cluster
        self.source = owner(cluster, slot)
        self.target = next(node for node in cluster.nodes if node is not self.source)

    def begin(self) -> None:
        assert "OK" in self.target.cli("CLUSTER", "SETSLOT", self.slot, "IMPORTING", name(self.source))
        assert "OK" in self.source.cli("CLUSTER", "SETSLOT", self.slot, "MIGRATING", name(self.target))

    def move_keys(self, *, half: bool = False) -> None:
        client = redis.Redis(port=self.source.port)
        keys = client.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 10_000)
        for key in keys[: len(keys) // 2] if half else keys:
            client.execute_command("MIGRATE", "127.0.0.1", self.target.port, key, 0, 5_000, "REPLACE")
        client.close()

    def end(self) -> None:
        for node in (self.target, self.source, *self.cluster.nodes):
            assert "OK" in node.cli("CLUSTER", "SETSLOT", self.slot, "NODE", name(self.target))


def busiest_slot() -> int:
    slots = [key_slot(ROWS + key) for key in KEYS]
    return max(slots, key=slots.count)


async def check(store: RedisStore, event: int) -> None:
    found = await store.read_async([(TABLE, KEYS)])
    assert found == [[held for _, held in rows(event)]]


def test_a_slot_that_moves_is_read_and_written_on_its_way(cluster: RedisCluster) -> None:
    # Four keys of one slot, so that half of them can be moved.
    slot = key_slot(ROWS + b"0")
    extra = [key for number in range(200_000) if key_slot(ROWS + (key := b"x%d" % number)) == slot][:4]
    store = open_store(cluster.uri)

    def write(event: int) -> None:
        given = [*rows(event), *((key, value(event)) for key in extra)]
        result = store.write(TABLE, given)
        assert (result.written, result.skipped) == (len(given), 0)
        assert store.read(TABLE, KEYS) == [held for _, held in rows(event)]
        assert store.read(TABLE, extra) == [value(event)] * len(extra)

    async def moves() -> None:
        write(1)
        await check(store, 1)
        move = Move(cluster, slot)
        move.begin()
        await check(store, 1)
        write(2)
        move.move_keys(half=True)
        await check(store, 2)
        write(3)
        # The scripts are not at the target: its answer to their hash must be no end.
        move.target.cli("SCRIPT", "FLUSH")
        move.move_keys()
        write(4)
        await check(store, 4)
        move.end()
        await check(store, 4)
        write(5)
        await check(store, 5)
        assert dict(store.scan(TABLE)).keys() == {*KEYS, *extra}
        assert store.drop(TABLE) == len(KEYS) + len(extra)
        store.close()
        await asyncio.sleep(0.01)

    asyncio.run(moves())


def test_slots_that_move_while_writers_write(cluster: RedisCluster) -> None:
    done = threading.Event()
    acknowledged = [0]
    failed: list[str] = []

    def write() -> None:
        store = open_store(cluster.uri)
        while not done.is_set():
            try:
                result = store.write(TABLE, rows(acknowledged[0] + 1))
            except Unavailable as error:
                failed.append(str(error))
                continue
            assert result.written + result.skipped == len(KEYS)
            acknowledged[0] += 1
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for key in KEYS[:4]:
            move = Move(cluster, key_slot(ROWS + key))
            move.begin()
            move.move_keys()
            move.end()
    finally:
        done.set()
        writer.join()
    store = open_store(cluster.uri)
    found = store.read(TABLE, KEYS)
    assert all(held is not None and held >= value(acknowledged[0]) for held in found)
    assert acknowledged[0] > 0
    store.close()


def test_a_bad_state_of_the_cluster_ends_and_hangs_nobody(cluster: RedisCluster) -> None:
    store = open_store(f"{cluster.uri}?timeout=2")
    store.write(TABLE, rows(1))
    slot = key_slot(ROWS + KEYS[0])
    holder = owner(cluster, slot)
    holder.cli("CLUSTER", "DELSLOTS", str(slot))

    async def read() -> None:
        begin = time.monotonic()
        with pytest.raises(Unavailable):
            await store.read_async([(TABLE, KEYS)])
        with pytest.raises(Unavailable):
            store.write(TABLE, rows(2))
        with pytest.raises(Unavailable):
            store.read(TABLE, KEYS)
        assert time.monotonic() - begin < 15
        holder.cli("CLUSTER", "ADDSLOTS", str(slot))
        deadline = time.monotonic() + 20
        while True:
            try:
                store.write(TABLE, rows(3))
                await check(store, 3)
                break
            except Unavailable:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        store.close()
        await asyncio.sleep(0.01)

    asyncio.run(read())
