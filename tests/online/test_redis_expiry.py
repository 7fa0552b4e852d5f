"""When Redis forgets rows: no earlier than event time + span, by itself, and never because of a row that lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.online.redis_races import ROWS
from tests.online.workers import TABLE, value
from tiffin import clock
from tiffin.online.base import WriteResult
from tiffin.online.redis import open_store
from tiffin.online.redis_store import RedisStore

HOUR = 3_600_000_000
FAR = 50 * 366 * 24 * HOUR


@pytest.fixture
def client(redis_uri: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_uri)
    yield client
    client.close()


@pytest.fixture
def store(redis_uri: str) -> Iterator[RedisStore]:
    store = open_store(redis_uri)
    yield store
    store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(ago=st.integers(-FAR, FAR), more=st.integers(1_000_000_000, 2 * FAR))
def test_the_instant_is_event_time_and_span_rounded_up(
    store: RedisStore, client: redis.Redis, ago: int, more: int
) -> None:
    event = clock.now() - ago
    span = max(ago, 0) + more
    client.flushall()
    assert store.write(TABLE, [(b"k", value(event))], expire_after=span) == WriteResult(1, 0)
    late = client.pexpiretime(ROWS + b"k") * 1000 - (event + span)
    assert 0 <= late <= 4_000


@pytest.mark.parametrize("event", [-(2**63) + 1, -1, 0, 1, 2**62])
def test_any_event_time_may_have_a_span(store: RedisStore, client: redis.Redis, event: int) -> None:
    assert store.write(TABLE, [(b"k", value(event))], expire_after=HOUR) == WriteResult(1, 0)
    assert store.read(TABLE, [b"k"]) == [value(event) if event > clock.now() else None]


def test_without_a_span_a_row_stays(store: RedisStore, client: redis.Redis) -> None:
    store.write(TABLE, [(b"k", value(1))])
    assert client.pttl(ROWS + b"k") == -1


def test_a_row_that_loses_changes_no_expiry(store: RedisStore, client: redis.Redis) -> None:
    now = clock.now()
    store.write(TABLE, [(b"k", value(now))], expire_after=HOUR)
    before = client.pexpiretime(ROWS + b"k")
    for span in (None, 1, 100 * HOUR):
        assert store.write(TABLE, [(b"k", value(now - 1))], expire_after=span) == WriteResult(0, 1)
        assert client.pexpiretime(ROWS + b"k") == before


def test_the_same_row_again_takes_the_new_span(store: RedisStore, client: redis.Redis) -> None:
    now = clock.now()
    store.write(TABLE, [(b"k", value(now))], expire_after=HOUR)
    before = client.pexpiretime(ROWS + b"k")
    assert store.write(TABLE, [(b"k", value(now))], expire_after=3 * HOUR) == WriteResult(1, 0)
    assert client.pexpiretime(ROWS + b"k") - before == 2 * HOUR // 1000
    assert store.write(TABLE, [(b"k", value(now))]) == WriteResult(1, 0)
    assert client.pttl(ROWS + b"k") == -1


def test_a_row_past_its_time_takes_the_place_of_an_older_one(store: RedisStore, client: redis.Redis) -> None:
    old = clock.now() - 10 * HOUR
    store.write(TABLE, [(b"k", value(old))])
    assert store.write(TABLE, [(b"k", value(old + 1))], expire_after=HOUR) == WriteResult(1, 0)
    assert store.read(TABLE, [b"k"]) == [None]
    assert client.exists(ROWS + b"k") == 0


def test_it_is_forgotten_by_itself_when_its_time_has_come(store: RedisStore, client: redis.Redis) -> None:
    now = clock.now()
    store.write(TABLE, [(b"k", value(now - HOUR))], expire_after=HOUR + 300_000)
    assert store.read(TABLE, [b"k"]) == [value(now - HOUR)]
    time.sleep(0.4)
    assert store.read(TABLE, [b"k"]) == [None]
    assert list(store.scan(TABLE)) == []


def test_the_mark_and_the_layouts_stay(store: RedisStore, client: redis.Redis) -> None:
    store.ensure(TABLE, b"layout")
    store.write_mark(TABLE, b"mark")
    store.write(TABLE, [(b"k", value(1))], expire_after=1)
    assert sorted(client.scan_iter()) == [b"tiffin{default/drivers}/layouts", b"tiffin{default/drivers}/mark"]
    assert {client.pttl(key) for key in client.scan_iter()} == {-1}
