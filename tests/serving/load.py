"""A team at work: readers, writers and people who change definitions, all over HTTP, and what they may meet.

Every value tells its key and version: ``text`` of key 7 at version 12 is ``7:12``. Each writer has keys of its own and
counts their versions up. A version counts as *tried* before it is sent and as *acknowledged* when the service has said
so. Whoever reads a key, at any moment, must find a version between the two that held when it began and when it ended,
whole and of that key.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from tiffin import AsyncClient, Client, Entity, Feature, FeatureTable, ValueType, clock, errors
from tiffin.remote.http import Connection

KEYS_PER_WRITER: Final = 40
BATCH: Final = 10
#: Seconds that a service has, once what it stands on answers again, before an error counts as one.
SLACK: Final = 2.0
#: Features that are added to the table while it is written and read.
MOST_ADDED: Final = 30
BASE: Final = 1_700_000_000_000_000


class Outages:
    """When Redis and the registry service were away, by :func:`time.monotonic`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, list[tuple[float, float]]] = {"redis": [], "core": []}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        with self._lock:
            self._spans[what].append((began, float("inf")))
        try:
            yield
        finally:
            with self._lock:
                self._spans[what][-1] = (began, time.monotonic() + SLACK)

    def excuse(self, began: float, *what: str) -> bool:
        """Whether something was away while a request that began then was under way."""
        with self._lock:
            return any(end >= began for each in what for _, end in self._spans[each])

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {what: len(spans) for what, spans in self._spans.items()}


@dataclass
class Ledger:
    """What was tried and acknowledged of every key, and what went wrong."""

    tried: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)
    added: int = 0
    revisions: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def fail(self, what: str) -> None:
        self.wrong.append(what)
        if len(self.wrong) > 20:
            self.stop.set()


def features(added: int) -> list[Feature]:
    return [
        Feature("version", ValueType.INT64),
        Feature("text", ValueType.STRING),
        *(Feature(f"extra_{number}", ValueType.INT64) for number in range(added)),
    ]


def table(added: int, revision: int) -> FeatureTable:
    return FeatureTable("load", ["key"], features(added), labels={"revision": str(revision)})


def rows(keys: list[int], versions: dict[int, int], added: int) -> dict[str, list[Any]]:
    """A batch as columns; a greater version has a later event."""
    columns: dict[str, list[Any]] = {
        "key": keys,
        "version": [versions[key] for key in keys],
        "text": [f"{key}:{versions[key]}" for key in keys],
        "event_timestamp": [clock.to_iso(BASE + versions[key]) for key in keys],
    }
    return columns | {f"extra_{number}": [versions[key] * 1_000 + number for key in keys] for number in range(added)}


def check(ledger: Ledger, keys: list[int], floor: dict[int, int], answer: dict[str, list[Any]], added: int) -> None:
    """Hold an answer against what may be seen; ``floor`` is what was acknowledged when the request began."""
    for place, key in enumerate(keys):
        version, text = answer["load:version"][place], answer["load:text"][place]
        extras = {n: answer[f"load:extra_{n}"][place] for n in range(added)}
        least, most = floor.get(key, -1), ledger.tried.get(key, -1)
        if version is None:
            if least >= 0:
                ledger.fail(f"key {key}: acknowledged version {least} was lost")
            continue
        if not least <= version <= most:
            ledger.fail(f"key {key}: version {version}, where {least} to {most} were possible")
        if text != f"{key}:{version}" or any(e not in (None, version * 1_000 + n) for n, e in extras.items()):
            ledger.fail(f"key {key} at version {version}: the row is {text!r}, {extras}")


class Team:
    """The threads. ``options`` are those of a client of the services, which reaches no store itself."""

    def __init__(self, options: dict[str, Any], outages: Outages, seed: int) -> None:
        self.options = options
        self.outages = outages
        self.seed = seed
        self.ledger = Ledger()
        self._threads: list[threading.Thread] = []

    def prepare(self) -> None:
        with Client(self.options) as client:
            client.apply([Entity("key", value_type=ValueType.INT64), table(0, 0)])
        time.sleep(1.5)

    def start(self, *, writers: int = 2, readers: int = 1) -> None:
        self.writers = writers + 1
        work: list[tuple[Callable[..., None], int]] = [(self._write, number) for number in range(writers)]
        work += [(self._read, number) for number in range(readers)]
        work += [(self._read_once, 0), (self._push, writers), (self._read_async, 0), (self._define, 0)]
        for target, number in work:
            thread = threading.Thread(target=self._guarded, args=(target, number), name=f"{target.__name__}-{number}")
            self._threads.append(thread)
            thread.start()

    def finish(self) -> None:
        self.ledger.stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def keys(self) -> list[int]:
        return sorted(self.ledger.tried)

    def _guarded(self, target: Callable[[int], None], number: int) -> None:
        try:
            target(number)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what the run looks for)
            self.ledger.fail(f"{target.__name__}: {type(error).__name__}: {error}")
            self.ledger.stop.set()

    def _write(self, number: int) -> None:
        """Batches in Feast's shape, into the online store alone."""
        connection = Connection(self.options["serving_url"], what="online", timeout=10)

        def send(keys: list[int], versions: dict[int, int], added: int) -> None:
            body = {"feature_view_name": "load", "df": rows(keys, versions, added)}
            answer = connection.exchange(
                "POST", "/write-to-online-store", body=msgspec.json.encode(body), body_type="application/json"
            )
            if answer.status != 200:
                raise errors.InvalidData(answer.content.decode())

        self._keep_writing(number, send, 0.01)
        connection.close()

    def _push(self, number: int) -> None:
        """Batches of a client, into both stores."""
        with Client(self.options) as client:

            def send(keys: list[int], versions: dict[int, int], added: int) -> None:
                frame = pl.DataFrame(rows(keys, versions, added)).with_columns(
                    pl.col("event_timestamp").str.to_datetime(time_unit="us", time_zone="UTC")
                )
                client.push("load", frame, idempotency_key=f"{keys[0]}-{versions[keys[0]]}")

            self._keep_writing(number, send, 0.5)

    def _keep_writing(self, number: int, send: Callable[[list[int], dict[int, int], int], None], pause: float) -> None:
        ledger, chance = self.ledger, random.Random(f"{self.seed} {number}")
        own = range(number * KEYS_PER_WRITER, (number + 1) * KEYS_PER_WRITER)
        while not ledger.stop.is_set():
            keys = sorted(chance.sample(own, BATCH))
            versions = {key: ledger.tried.get(key, 0) + 1 for key in keys}
            ledger.tried.update(versions)
            began = time.monotonic()
            try:
                send(keys, versions, ledger.added)
            except errors.Unavailable as error:
                ledger.counts["writes refused"] += 1
                if not self.outages.excuse(began, "redis", "core"):
                    ledger.fail(f"a write was refused though all was up: {error}")
            except errors.InvalidData:
                ledger.counts["writes of another definition"] += 1  # a feature was added this moment
            else:
                ledger.acknowledged.update(versions)
                ledger.counts["rows acknowledged"] += BATCH
            time.sleep(pause)

    def _asked(self, chance: random.Random) -> tuple[list[int], dict[int, int], int, list[str]]:
        """Keys, what of them is acknowledged, and the features that are there for sure."""
        keys = chance.sample(range(self.writers * KEYS_PER_WRITER), 5)
        floor = {key: self.ledger.acknowledged[key] for key in keys if key in self.ledger.acknowledged}
        added = self.ledger.added
        return keys, floor, added, [f"load:{feature.name}" for feature in features(added)]

    def _seen(self, began: float, error: errors.Unavailable) -> None:
        self.ledger.counts["reads refused"] += 1
        if not self.outages.excuse(began, "redis"):
            self.ledger.fail(f"a read was refused though Redis was up: {error}")

    def _read(self, number: int) -> None:
        chance = random.Random(f"{self.seed} reader {number}")
        with Client(self.options) as client:
            while not self.ledger.stop.is_set():
                keys, floor, added, refs = self._asked(chance)
                began = time.monotonic()
                try:
                    answer = client.get_online_features(refs, {"key": keys})
                except errors.Unavailable as error:
                    self._seen(began, error)
                else:
                    check(self.ledger, keys, floor, answer.to_dict(), added)
                    self.ledger.counts["reads"] += 1
                time.sleep(0.004)

    def _read_once(self, number: int) -> None:
        """Reads that are sent once, as a program without retries sends them."""
        chance = random.Random(f"{self.seed} once {number}")
        connection = Connection(self.options["serving_url"], what="online", timeout=10)
        while not self.ledger.stop.is_set():
            keys, floor, added, refs = self._asked(chance)
            began = time.monotonic()
            try:
                answer = connection.post("/v1/features/online", {"features": refs, "entities": {"key": keys}})
            except errors.Unavailable as error:
                self._seen(began, error)
                time.sleep(0.1)
            else:
                found = {column["name"]: column["values"] for column in answer["features"]}
                check(self.ledger, keys, floor, found, added)
                self.ledger.counts["reads"] += 1
            time.sleep(0.004)
        connection.close()

    def _read_async(self, number: int) -> None:
        chance = random.Random(f"{self.seed} coroutines {number}")

        async def one(client: AsyncClient) -> None:
            while not self.ledger.stop.is_set():
                keys, floor, added, refs = self._asked(chance)
                began = time.monotonic()
                try:
                    answer = await client.get_online_features(refs, {"key": keys})
                except errors.Unavailable as error:
                    self._seen(began, error)
                else:
                    check(self.ledger, keys, floor, answer.to_dict(), added)
                    self.ledger.counts["reads"] += 1
                await asyncio.sleep(0.02)

        async def all_of_them() -> None:
            async with AsyncClient(self.options) as client:
                await asyncio.gather(*(one(client) for _ in range(4)))

        asyncio.run(all_of_them())

    def _define(self, number: int) -> None:
        """Labels change all the time, and features are added; both are seen by others within a second or so."""
        ledger = self.ledger
        with Client(self.options) as client:
            while not ledger.stop.is_set():
                began = time.monotonic()
                revision = ledger.revisions + 1
                added = min(revision // 5, MOST_ADDED)
                try:
                    client.apply(table(added, revision))
                except errors.Unavailable as error:
                    ledger.counts["applies refused"] += 1
                    if not self.outages.excuse(began, "core"):
                        ledger.fail(f"an apply was refused though the registry was up: {error}")
                else:
                    ledger.revisions = revision
                    if added > ledger.added:
                        self._wait_until_known(added)
                        ledger.added = added
                ledger.stop.wait(0.3)

    def _wait_until_known(self, added: int) -> None:
        """Until every worker of the online service answers for a new feature: each connection meets one of them."""
        body = {"features": [f"load:extra_{added - 1}"], "entities": {"key": [0]}}
        seen = 0
        while seen < 20 and not self.ledger.stop.is_set():
            connection = Connection(self.options["serving_url"], what="online")
            try:
                connection.post("/v1/features/online", body)
                seen += 1
            except (errors.NotFound, errors.Unavailable):
                seen = 0
                time.sleep(0.05)
            finally:
                connection.close()
