"""The online service over Redis: requests that go together, and a Redis that goes away and comes back."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.servers.redis import DURABLE, RedisServer
from tests.serving.services import Service, ask
from tiffin import Client, Entity, Feature, FeatureTable, ValueType

ROWS = 500
FEATURES = ["squares:square", "names:name"]


def fill(home: Path, store: str) -> None:
    """Two tables of different entities, whose values follow from their keys."""
    with Client(home=str(home), online_store=store) as client:
        client.apply(
            [
                Entity("number", value_type=ValueType.INT64),
                Entity("word", value_type=ValueType.STRING),
                FeatureTable("squares", ["number"], [Feature("square", ValueType.INT64)]),
                FeatureTable("names", ["word"], [Feature("name", ValueType.STRING)]),
            ]
        )
        now = [datetime.now(UTC)] * ROWS
        numbers = list(range(ROWS))
        client.push(
            "squares", pl.DataFrame({"number": numbers, "square": [n * n for n in numbers], "event_timestamp": now})
        )
        words = [f"w{n}" for n in numbers]
        client.push("names", pl.DataFrame({"word": words, "name": [w.upper() for w in words], "event_timestamp": now}))


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", *DURABLE)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Reader(threading.Thread):
    """Asks for random keys until told to stop, and looks at every value."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._port = port
        self._random = random.Random(seed)
        self.ending = threading.Event()
        self.statuses: list[int] = []
        self.slowest = 0.0
        self.wrong: list[Any] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self.ending.is_set():
            count = self._random.randint(1, 20)
            numbers = [self._random.randrange(ROWS + 50) for _ in range(count)]
            words = [self._random.randrange(ROWS + 50) for _ in range(count)]
            body = {"features": FEATURES, "entities": {"number": numbers, "word": [f"w{n}" for n in words]}}
            began = time.monotonic()
            answer = ask(connection, "POST", "/get-online-features", body)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.statuses.append(answer.status)
            if answer.status == 200:
                self._check(numbers, words, answer.json["results"])
            elif answer.status == 503:
                assert int(answer.headers["retry-after"]) >= 1
                time.sleep(0.02)
        connection.close()

    def _check(self, numbers: list[int], words: list[int], results: Any) -> None:
        expected = [
            [n * n if n < ROWS else None for n in numbers],
            [f"W{n}" if n < ROWS else None for n in words],
        ]
        found = [each["values"] for each in results[2:]]
        if found != expected:
            self.wrong.append((numbers, words, found))


def test_each_of_many_gets_its_own_rows(redis_uri: str, home: Path) -> None:
    fill(home, redis_uri)
    service = Service(home / "run", home=str(home), online_store=redis_uri)
    try:
        service.start()
        readers = [Reader(service.port, seed) for seed in range(12)]
        for reader in readers:
            reader.start()
        time.sleep(2.0)
        for reader in readers:
            reader.ending.set()
            reader.join()
        assert [reader.wrong for reader in readers] == [[]] * 12
        assert {status for reader in readers for status in reader.statuses} == {200}
        text = service.ask("GET", "/metrics").body.decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("tiffin_serving_coalesced"))
        readings = float(lines["tiffin_serving_coalesced_requests_count"])
        assert readings < float(lines["tiffin_serving_coalesced_requests_sum"])
        assert service.stop() == 0
    finally:
        service.kill()


def test_a_redis_that_is_away_is_told_and_comes_back(durable: RedisServer, home: Path) -> None:
    fill(home, durable.uri)
    service = Service(home / "run", home=str(home), online_store=durable.uri, serving_timeout=2)
    try:
        service.start()
        readers = [Reader(service.port, seed) for seed in range(4)]
        for reader in readers:
            reader.start()
        for _ in range(2):
            time.sleep(0.5)
            durable.kill()
            time.sleep(1.0)
            answer = service.ask(
                "POST", "/get-online-features", {"features": FEATURES, "entities": {"number": [1], "word": ["w1"]}}
            )
            assert answer.status == 503, answer
            durable.start()
            _until_back(service)
        for reader in readers:
            reader.ending.set()
            reader.join()
        assert [reader.wrong for reader in readers] == [[]] * 4
        assert {status for reader in readers for status in reader.statuses} == {200, 503}
        assert max(reader.slowest for reader in readers) < 6
        assert "Traceback" not in service.log
    finally:
        service.kill()


def test_a_start_while_redis_is_away(tmp_path: Path, home: Path) -> None:
    server = RedisServer(tmp_path / "redis", *DURABLE)
    server.start()
    fill(home, server.uri)
    server.kill()
    service = Service(home / "run", home=str(home), online_store=server.uri, serving_timeout=2)
    try:
        service.start()
        body = {"features": FEATURES, "entities": {"number": [1], "word": ["w1"]}}
        assert service.ask("POST", "/get-online-features", body).status == 503
        server.start()
        _until_back(service)
    finally:
        service.kill()
        server.kill()


def _until_back(service: Service) -> None:
    body = {"features": FEATURES, "entities": {"number": [3], "word": ["w3"]}}
    deadline = time.monotonic() + 15
    while (answer := service.ask("POST", "/get-online-features", body)).status != 200:
        assert answer.status == 503, answer
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [each["values"] for each in answer.json["results"][2:]] == [[9], ["W3"]]
