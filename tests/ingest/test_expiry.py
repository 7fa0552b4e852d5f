"""Expired rows leave the store by themselves, not too early, not too often, and by one process alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.routes import ID, SECOND, Ground, now_is, rows, table_in
from tiffin import clock, sync
from tiffin.control import UNWATCHED
from tiffin.ingest import expiry
from tiffin.ingest.expiry import SWEEP_EVERY, sweep_if_due
from tiffin.online.memory import MemoryStore

GRACE = 86_400 * SECOND


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    ground.table = table_in(tmp_path, max_age=10 * SECOND)
    yield ground
    ground.close()


def run(ground: Ground) -> None:
    sync.incremental(ground.route, [ground.table]).run(UNWATCHED)


def counted(monkeypatch: pytest.MonkeyPatch, store: object) -> list[int]:
    """The instants of the sweeps of a store, from now on."""
    swept: list[int] = []

    def sweep(now: int) -> int:
        swept.append(now)
        return 0

    monkeypatch.setattr(store, "sweep", sweep)
    return swept


def test_an_incremental_run_removes_what_has_expired(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    expiring = now - 10 * SECOND - GRACE
    ground.ingest(rows((1, expiring - 1, 1), (2, expiring + SWEEP_EVERY, 2), (3, expiring + 2 * SWEEP_EVERY - 1, 3)))
    for later, held in ((0, [1, 2, 3]), (SWEEP_EVERY - 1, [1, 2, 3]), (SWEEP_EVERY, [2, 3]), (2 * SWEEP_EVERY, [])):
        now_is(monkeypatch, now + later)
        run(ground)
        assert sorted(ground.stored()) == held


def test_a_table_without_max_age_keeps_its_rows(ground: Ground) -> None:
    ground.table = table_in(ground.folder)
    ground.ingest(rows((1, 1, 1)))
    run(ground)
    assert list(ground.stored()) == [1]


def test_one_process_looks_for_all(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = ground.store
    sweep_if_due(store, UNWATCHED)
    now_is(monkeypatch, clock.now() + SWEEP_EVERY)
    read = store.read_mark

    def overtaken(table: Any) -> bytes | None:
        found: bytes | None = read(table)
        monkeypatch.setattr(store, "read_mark", read)
        sweep_if_due(store, UNWATCHED)
        return found

    swept = counted(monkeypatch, store)
    monkeypatch.setattr(store, "read_mark", overtaken)
    sweep_if_due(store, UNWATCHED)
    assert len(swept) == 1


def test_a_mark_of_the_future_does_not_keep_it_from_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    swept = counted(monkeypatch, store)
    store.write_mark(expiry._SWEPT, (clock.now() + 9 * SWEEP_EVERY).to_bytes(8, "big"))
    sweep_if_due(store, UNWATCHED)
    sweep_if_due(store, UNWATCHED)
    assert len(swept) == 1
    assert store.read_mark(ID) is None
