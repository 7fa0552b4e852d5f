"""With writers at work nothing is told that is not so, and what is so is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.ingest.routes import THEN, rows
from tests.ingest.verify_writers import ground_at, watch
from tiffin.ingest.push import push
from tiffin.ingest.verify import Asked, verify
from tiffin.online.base import OnlineStore, TableId, WriteResult


@pytest.mark.timeout(180)
@pytest.mark.parametrize("where", ["lmdb", "redis"])
def test_no_false_alarm(tmp_path: Path, where: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue("redis_uri") if where == "redis" else ""
    looks, _ = watch(tmp_path, uri, seconds=4, seed=1)
    assert looks >= 2


class Slow:
    """A store whose writes wait, as those of a writer that lost its turn between the history and the store."""

    def __init__(self, store: OnlineStore, go: threading.Event) -> None:
        self._store = store
        self._go = go
        self.waits = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, table: TableId, given: Any, *, expire_after: int | None = None) -> WriteResult:
        self.waits.set()
        assert self._go.wait(30)
        return self._store.write(table, given, expire_after=expire_after)


def test_a_writer_between_the_stores_is_waited_for(tmp_path: Path) -> None:
    ground = ground_at(tmp_path, "")
    push(ground.route, ground.table, rows((1, THEN, 1), gone=[False]), max_skew=0, **ground.places)
    go = threading.Event()
    slow = Slow(ground.store, go)
    route = replace(ground.route, store=slow)
    batch = rows((1, THEN + 1, 2), (2, THEN, 3), gone=[False, False])
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(push, route, ground.table, batch, max_skew=0, **ground.places)
        assert slow.waits.wait(30)
        # Whoever does not wait tells that it is not there, as it is of a writer that was killed.
        report = verify(ground.route, ground.table, Asked(patience=0.0))
        assert {each.key["k"]: each.kind.value for each in report.examples} == {1: "stale", 2: "missing"}
        threading.Timer(1.0, go.set).start()
        assert verify(ground.route, ground.table, Asked()).found == 0
        pushing.result()
    ground.close()
