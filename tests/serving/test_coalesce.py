"""Readings that go together: each request gets its own rows, and one that fails takes no other with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import CorruptData, Unavailable
from tiffin.online.base import TableId
from tiffin.serving.online.coalesce import FLIGHTS, KEYS, Coalescer
from tiffin.serving.online.limits import OutOfTime

TABLES = [TableId("default", name) for name in ("a", "b", "c")]
Wanted = list[tuple[TableId, list[bytes]]]


class Store:
    """Answers every key with its table and itself, after ``pause`` seconds, unless a key is ``poison``."""

    def __init__(self, *, pause: float = 0.0, poison: bytes = b"", error: Exception | None = None) -> None:
        self.pause = pause
        self.poison = poison
        self.error = error
        self.readings: list[int] = []
        self.at_once = self.most_at_once = 0

    async def read_async(self, wanted: Sequence[tuple[TableId, Sequence[bytes]]]) -> list[list[bytes | None]]:
        self.readings.append(sum(len(keys) for _, keys in wanted))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.pause)
        self.at_once -= 1
        if self.error is not None and (not self.poison or any(self.poison in keys for _, keys in wanted)):
            raise self.error
        return [[value(table, key) for key in keys] for table, keys in wanted]


def value(table: TableId, key: bytes) -> bytes | None:
    return None if key == b"missing" else f"{table.table}:{key!r}".encode()


def expected(wanted: Wanted) -> list[list[bytes | None]]:
    return [[value(table, key) for key in keys] for table, keys in wanted]


def gathered(
    store: Store, requests: Sequence[Wanted], *, timeout: float = 5.0, waits: Sequence[float] = ()
) -> list[Any]:
    """What each request got, or the error it met; ``waits`` delays the requests."""

    async def run() -> list[Any]:
        coalescer = Coalescer(store, timeout=timeout, seen=lambda _: None)

        async def one(number: int, wanted: Wanted) -> Any:
            await asyncio.sleep(waits[number] if waits else 0)
            return await coalescer.read(wanted)

        jobs = [one(number, wanted) for number, wanted in enumerate(requests)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    return asyncio.run(run())


_KEYS = st.lists(st.sampled_from([b"1", b"2", b"missing", b"x" * 9]), max_size=4)
_WANTED = st.lists(st.tuples(st.sampled_from(TABLES), _KEYS), max_size=3)


@given(st.lists(st.tuples(_WANTED, st.sampled_from([0.0, 0.0, 0.001, 0.003])), max_size=20))
def test_every_request_gets_its_own_rows(requests: list[tuple[Wanted, float]]) -> None:
    store = Store(pause=0.001)
    found = gathered(store, [wanted for wanted, _ in requests], waits=[wait for _, wait in requests])
    assert found == [expected(wanted) for wanted, _ in requests]
    assert store.most_at_once <= FLIGHTS


def test_requests_of_one_turn_go_together() -> None:
    store = Store()
    gathered(store, [[(TABLES[0], [b"1"])] for _ in range(50)])
    assert store.readings == [50]


def test_requests_that_come_meanwhile_go_together_next() -> None:
    store = Store(pause=0.05)
    waits = [0.0, 0.01, *[0.02] * 20]
    gathered(store, [[(TABLES[0], [b"1"])] for _ in waits], waits=waits)
    assert store.readings == [1, 1, 20]


def test_a_reading_has_its_bound() -> None:
    store = Store(pause=0.001)
    requests = [[(TABLES[0], [b"1"] * 1000)] for _ in range(10)]
    assert gathered(store, requests) == [expected(wanted) for wanted in requests]
    assert max(store.readings) < KEYS + 1000


def test_a_store_that_is_away_fails_all_who_asked() -> None:
    store = Store(error=Unavailable("away"))
    found = gathered(store, [[(TABLES[0], [b"1"])] for _ in range(3)])
    assert [type(each) for each in found] == [Unavailable] * 3


def test_one_bad_request_fails_alone() -> None:
    store = Store(poison=b"bad", error=CorruptData("cut short"))
    found = gathered(store, [[(TABLES[0], [key])] for key in (b"1", b"bad", b"2")])
    assert found[0] == expected([(TABLES[0], [b"1"])])
    assert isinstance(found[1], CorruptData)
    assert found[2] == expected([(TABLES[0], [b"2"])])


def test_a_store_that_does_not_answer_is_given_up() -> None:
    store = Store(pause=0.5)
    found = gathered(store, [[(TABLES[0], [b"1"])] for _ in range(4)], timeout=0.05, waits=[0, 0, 0.01, 0.01])
    assert [type(each) for each in found] == [OutOfTime] * 4


def test_one_who_leaves_takes_nobody_along() -> None:
    async def run() -> Any:
        coalescer = Coalescer(Store(pause=0.02), timeout=5, seen=lambda _: None)
        leaving = asyncio.create_task(coalescer.read([(TABLES[0], [b"1"])]))
        staying = asyncio.create_task(coalescer.read([(TABLES[1], [b"2"])]))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return await staying

    assert asyncio.run(run()) == expected([(TABLES[1], [b"2"])])


def test_a_fault_of_the_store_reaches_everybody_who_asked() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        coalescer = Coalescer(Store(error=RuntimeError("a bug")), timeout=5, seen=lambda _: None)
        with pytest.raises(RuntimeError, match="a bug"):
            await coalescer.read([(TABLES[0], [b"1"])])

    asyncio.run(run())
