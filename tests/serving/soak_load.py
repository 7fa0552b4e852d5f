"""Mixed load on a team's services while what they stand on is killed, again and again.

Readers and writers go on over HTTP. Meanwhile the registry service is killed or stopped and started again, Redis
(append only, synced at every write) is killed and started again, and definitions change. Then:

- every acknowledged write is there, in the answers of the service and in Redis itself, and no read saw less or else;
- reads were refused while Redis was away, and writes while Redis or the registry was, and at no other time;
- every acknowledged change of definitions is in the history;
- the memory of the online service's workers does not grow.
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import polars as pl
import psutil

from tests.servers.postgres import PostgresServer
from tests.servers.redis import DURABLE, RedisServer
from tests.servers.services import Service, running
from tests.serving.load import BASE, Ledger, Outages, Team, check, features, rows
from tiffin import Client, clock

#: Seconds between two outages, and how long one lasts at most.
BETWEEN: Final = 4.0
AWAY: Final = 1.5
WORKERS: Final = 2
_MB: Final = 1 << 20


def run(size: int, seed: int) -> str:
    """Two seconds a case: ten minutes for 300."""
    return run_for(2 * size, seed, growth_mb=12)


def run_for(seconds: float, seed: int, *, growth_mb: float) -> str:
    """Load for so many seconds; the workers' memory may grow by so many megabytes from the first third to the last."""
    postgres = PostgresServer(durable=True)
    with tempfile.TemporaryDirectory(prefix="tiffin-load-") as place:
        folder = Path(place)
        redis = RedisServer(folder / "redis", *DURABLE)
        try:
            postgres.start()
            core = Service("core", folder / "core", registry=postgres.database(), log_level="WARNING")
            shared = {"core_url": core.address, "offline_location": folder / "offline", "log_level": "WARNING"}
            online = Service("online", folder / "online", "--workers", str(WORKERS), online_store=redis.uri, **shared)
            with running(redis, core, online):
                options = {"core_url": core.address, "serving_url": online.address, "home": str(folder / "laptop")}
                return _load(options, redis, core, online, seconds, seed, growth_mb)
        finally:
            postgres.remove()


def _load(
    options: dict[str, str],
    redis: RedisServer,
    core: Service,
    online: Service,
    seconds: float,
    seed: int,
    growth_mb: float,
) -> str:
    outages = Outages()
    team = Team(options, outages, seed)
    team.prepare()
    watch = Watch(online.pid)
    _push_to_each(options, watch)
    team.start()
    watch.start()
    try:
        _break_things(redis, core, outages, team.ledger, time.monotonic() + seconds, seed)
    finally:
        team.finish()
        watch.finish()
    _assert_all_there(options, redis, team)
    assert not team.ledger.wrong, f"seed {seed}: " + "\n".join(team.ledger.wrong[:20])
    assert max(watch.growth()) < growth_mb, f"seed {seed}: a worker grew too much: {watch.shown()}"
    counts, away = team.ledger.counts, outages.counts()
    assert counts["reads"] > 10 * seconds, f"hardly anything was read: {counts}"
    return (
        f"{seconds:.0f} s: {counts['reads']} reads, {counts['rows acknowledged']} rows acknowledged and none lost, "
        f"{team.ledger.revisions} changes of definitions; Redis killed {away['redis']} times, the registry service "
        f"{away['core']} times; refused meanwhile: {counts['reads refused']} reads, {counts['writes refused']} writes, "
        f"{counts['applies refused']} applies; the workers hold {watch.shown()}"
    )


def _push_to_each(options: dict[str, str], watch: Watch) -> None:
    """Push over new connections until every worker has loaded what that takes, which is more than 100 MB.

    The one connection that the team pushes over may come to another worker at any time.
    """
    row = rows([-1], {-1: 0}, 0) | {"event_timestamp": [clock.to_datetime(BASE)]}
    deadline = time.monotonic() + 30
    while not watch.have_loaded("deltalake"):
        assert time.monotonic() < deadline, "a worker never got a push"
        with Client(options) as client:
            client.push("load", pl.DataFrame(row))


def _break_things(redis: RedisServer, core: Service, outages: Outages, ledger: Ledger, end: float, seed: int) -> None:
    chance = random.Random(seed)
    for what in itertools.cycle(["core", "redis", "core stops", "redis"]):
        ledger.stop.wait(BETWEEN)
        if ledger.stop.is_set() or time.monotonic() + AWAY + BETWEEN > end:
            break
        server = redis if what == "redis" else core
        with outages.of("redis" if what == "redis" else "core"):
            if what == "core stops":
                server.stop()
            else:
                server.kill()
            time.sleep(chance.uniform(0.1, AWAY))
            server.start()
    ledger.stop.wait(max(0.0, end - time.monotonic()))


def _assert_all_there(options: dict[str, str], redis: RedisServer, team: Team) -> None:
    """The final state, through the service and in Redis itself."""
    ledger, keys = team.ledger, team.keys()
    refs = [f"load:{feature.name}" for feature in features(ledger.added)]
    direct = {name: value for name, value in options.items() if name != "serving_url"} | {"online_store": redis.uri}
    for one in (options, direct):
        with Client(one) as client:
            answer = client.get_online_features(refs, {"key": keys}).to_dict()
            check(ledger, keys, dict(ledger.acknowledged), answer, ledger.added)
            kept = {revision.definition().labels["revision"] for revision in client.history("load")}
    assert {str(number) for number in range(ledger.revisions + 1)} <= kept, "a change of definitions was lost"


class Watch:
    """Samples the memory of a service's workers."""

    def __init__(self, pid: int) -> None:
        self._workers = psutil.Process(pid).children() or [psutil.Process(pid)]
        self._samples: list[list[int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def have_loaded(self, library: str) -> bool:
        """Whether every worker has mapped a library of that name."""
        return all(any(library in found.path for found in worker.memory_maps()) for worker in self._workers)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self) -> list[float]:
        """Megabytes by which the last third of each worker's samples is above the second."""
        third = len(self._samples) // 3
        return [
            (statistics.median(held[-third:]) - statistics.median(held[third : 2 * third])) / _MB
            for held in zip(*self._samples, strict=True)
        ]

    def shown(self) -> str:
        parts = zip(self._samples[-1], self.growth(), strict=True)
        return " and ".join(f"{held / _MB:.0f} MB (grew by {grown:.1f} MB)" for held, grown in parts)

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            self._samples.append([worker.memory_info().rss for worker in self._workers])
