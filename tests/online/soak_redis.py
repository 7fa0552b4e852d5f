"""Races of writers, killed writers, and a server that is killed and started again, for as long as is asked."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import redis

from tests.online.redis_races import check_whole, kill_writer, race, start_worker
from tests.servers.redis import DURABLE, RedisServer


def run(size: int, seed: int) -> str:
    """About ``size`` cases: of ten, seven kill a writer, two let eight race, and one kills the server."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), *DURABLE)
        server.start()
        try:
            seen = [0, 0, 0]
            for number in range(seed, seed + size):
                try:
                    seen[_case(server, number)] += 1
                except AssertionError as error:
                    raise AssertionError(f"seed {number} (of a run from {seed}): {error}") from error
        finally:
            server.kill()
    return f"{seen[0]} writers killed, {seen[1]} races of eight, {seen[2]} servers killed; nothing lost, nothing torn"


def _case(server: RedisServer, seed: int) -> int:
    chance = random.Random(seed)
    kind = chance.choice([0] * 7 + [1] * 2 + [2])
    server.cli("FLUSHALL")
    client = redis.Redis.from_url(server.uri)
    if kind == 0:
        kill_writer(server.uri, client, start=1, keys=chance.choice((1, 30, 700, 6_000)), seed=seed)
    elif kind == 1:
        race(server.uri, client, keys=chance.choice((1, 3, 50)), rounds=chance.choice((20, 100)), seed=seed)
    else:
        _kill_server(server, chance)
    client.close()
    return kind


def _kill_server(server: RedisServer, chance: random.Random) -> None:
    """Kill the server under a writer: what the writer was told is there, and it goes on once the server is back."""
    keys = chance.choice((1, 20, 300))
    worker = start_worker("write_for_ever", server.uri, 1, keys)
    assert worker.stdout is not None
    try:
        acknowledged = int(worker.stdout.readline())
        time.sleep(chance.uniform(0, 0.2))
        server.kill()
        while (line := worker.stdout.readline().strip()).isdigit():
            acknowledged = int(line)
        server.start()
        client = redis.Redis.from_url(server.uri)
        check_whole(client, keys, acknowledged)
        client.close()
        while not (line := worker.stdout.readline().strip()).isdigit():
            assert line.startswith("unavailable"), line
    finally:
        worker.kill()
        worker.stdout.close()
        worker.wait()
