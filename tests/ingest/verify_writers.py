"""Writers at work while the stores are compared: threads or processes that push, ingest and materialise."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import polars as pl
from msgspec.structs import replace

from tests.ingest.corruptions import key_of
from tests.ingest.routes import ID, SECOND, Ground, rows
from tiffin import clock
from tiffin.ingest.materialize import Limits, Route, materialize_incremental
from tiffin.ingest.push import push
from tiffin.ingest.verify import Asked, verify
from tiffin.offline.polars import PolarsEngine
from tiffin.online.lmdb import LmdbStore
from tiffin.online.redis import open_store

KEYS = 40
#: Keys that no writer touches, for differences that are really there.
STILL = range(1000, 1010)
_LONG = Limits(grace=100 * 366 * 86_400 * SECOND)


def ground_at(folder: Path, uri: str) -> Ground:
    """One table; online rows in a file, or in Redis where a URI is given."""
    ground = Ground(folder)
    if uri:
        ground.store.close()
        ground.store = open_store(uri)  # type: ignore[assignment]  # a store as the other
    else:
        ground.store = LmdbStore(str(folder / "online"))
    ground.route = Route(PolarsEngine(), ground.store, _LONG)
    ground.table = replace(ground.table, deleted_column="gone")
    return ground


def _batch(moment: random.Random, seed: int) -> pl.DataFrame:
    now = clock.now()
    some = [(moment.randrange(KEYS), now - moment.randrange(5 * SECOND), seed) for _ in range(moment.randrange(1, 20))]
    return rows(*some, gone=[moment.random() < 0.1 for _ in some])


def write(folder: str, uri: str, seed: int, stop: Event) -> None:
    """One writer: pushes, and now and then a batch that is ingested and materialised."""
    ground = ground_at(Path(folder), uri)
    moment = random.Random(seed)  # reproducible, not secret
    while not stop.is_set():
        batch = _batch(moment, seed)
        if moment.random() < 0.8:
            push(ground.route, ground.table, batch, max_skew=60 * SECOND, **ground.places)
        else:
            ground.ingest(batch)
            materialize_incremental(ground.route, ground.table)
        time.sleep(0.05)
    ground.close()


@contextmanager
def writing(folder: Path, uri: str, count: int, seed: int) -> Iterator[None]:
    """Writers at work around a block; all of them end well."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers = [
        context.Process(target=write, args=(str(folder), uri, seed * 100 + number, stop)) for number in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * count, f"seed {seed}: a writer failed"


def watch(folder: Path, uri: str, *, seconds: float, seed: int, writers: int = 4) -> tuple[int, int]:
    """Compare again and again while writers write; how often, and how many keys were in motion.

    A difference among the keys that nobody touches is found each time, and no other is.
    """
    ground = ground_at(folder, uri)
    now = clock.now()
    first = [(key, now - 10 * SECOND, key) for key in (*range(KEYS), *STILL)]
    push(ground.route, ground.table, rows(*first, gone=[False] * len(first)), max_skew=SECOND, **ground.places)
    materialize_incremental(ground.route, ground.table)  # so that no writer begins at the beginning
    looks = moving = 0
    with writing(folder, uri, writers, seed):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or looks < 2:
            broken = STILL[looks % len(STILL)]
            ground.store.delete(ID, [key_of(broken)])
            report = verify(ground.route, ground.table, Asked(fix=True))
            found = [(each.key["k"], each.kind.value, each.reason) for each in report.examples]
            assert [key for key, _, _ in found] == [broken], f"seed {seed}, look {looks}: {found}"
            looks += 1
            moving += report.moving
    report = verify(ground.route, ground.table, Asked())
    assert report.found == 0, f"seed {seed}: at rest: {report.examples}"
    ground.close()
    return looks, moving
