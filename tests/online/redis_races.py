"""Races of writers, and their check through the side door; shared by the tests and the long run."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import redis

from tests.online.redis_workers import payload
from tests.online.workers import value

ROWS = b"tiffin{}/default/drivers/"


def start_worker(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.online.redis_workers", name, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stored(client: redis.Redis, keys: int) -> list[bytes | None]:
    """What the bare driver finds under the keys of rows."""
    return [client.get(ROWS + b"k%d" % key) for key in range(keys)]


def event_of(held: bytes) -> int:
    return int.from_bytes(held[:8], "big") - 2**63


def race(uri: str, client: redis.Redis, *, keys: int, rounds: int, seed: int = 0, writers: int = 8) -> int:
    """Let processes race; every key must hold the greatest row, whole, and every row must be counted. How many were."""
    workers = [start_worker("race", uri, seed * writers + number, keys, rounds) for number in range(writers)]
    told = [worker.communicate()[0].split("\n") for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * writers
    best: list[tuple[int, int]] = [(0, 0)] * keys
    counted = 0
    for number, (counts, greatest, *_) in enumerate(told):
        counted += sum(map(int, counts.split()))
        mine = [(int(event), seed * writers + number) for event in greatest.split()]
        best = [max(pair) for pair in zip(best, mine, strict=True)]
    expected = [
        value(event, payload(writer, key, event)) if event else None for key, (event, writer) in enumerate(best)
    ]
    assert stored(client, keys) == expected
    written = sum(_draws(seed * writers + number, keys, rounds) for number in range(writers))
    assert counted == written
    return counted


def _draws(seed: int, keys: int, rounds: int) -> int:
    """How many rows the writer of a seed wrote."""
    chance = random.Random(seed)
    rows = 0
    for _ in range(rounds):
        for _ in chance.sample(range(keys), chance.randint(1, keys)):
            chance.randrange(1, 1_000_000)
            rows += 1
    return rows


def kill_writer(uri: str, client: redis.Redis, *, start: int, keys: int, seed: int) -> int:
    """Kill a writer; what it acknowledged is there and no row is torn. The event time that the next may start at."""
    chance = random.Random(seed)
    worker = start_worker("write_for_ever", uri, start, keys)
    assert worker.stdout is not None
    said = [worker.stdout.readline()]
    time.sleep(chance.uniform(0, 0.1))
    worker.kill()
    said += worker.stdout.readlines()
    worker.wait()
    worker.stdout.close()
    acknowledged = max(int(line) for line in said if line.strip().isdigit())
    check_whole(client, keys, acknowledged)
    return acknowledged + 2


def check_whole(client: redis.Redis, keys: int, acknowledged: int) -> None:
    """Every row is whole, and none is older than what was acknowledged."""
    for key, held in enumerate(stored(client, keys)):
        assert held is not None
        event = event_of(held)
        assert event >= acknowledged, (key, event, acknowledged)
        assert held == value(event, payload(0, key, event))
