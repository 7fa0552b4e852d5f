"""Leases: one holder at a time, on either database and through a service, whatever clocks show."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers.service import core_service
from tiffin import clock
from tiffin.errors import Conflict, InvalidArgument, Unavailable
from tiffin.jobs.lease import Lease, LeaseRecord, Leases, holding, new_owner
from tiffin.jobs.lease_store import LeaseStore, is_holder
from tiffin.jobs.remote_leases import RemoteLeases
from tiffin.jobs.store import JobStore
from tiffin.registry.database import writing
from tiffin.remote.http import Connection


@pytest.fixture
def leases(database: sa.Engine) -> LeaseStore:
    return JobStore(database).leases


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemoteLeases]:
    service = core_service(tmp_path / "core", f"sqlite:///{tmp_path}/core.db")
    service.start()
    connection = Connection(service.url)
    yield RemoteLeases(connection)
    connection.close()
    service.kill()


def expire(database: sa.Engine, name: str, by: int = 0) -> None:
    with writing(database) as connection:
        connection.execute(sa.text("update leases set expires = :at where name = :name"), {"at": by, "name": name})


def history(leases: Leases) -> list[bool]:
    """One story of two who want the same."""
    story = [leases.take("a/b", "x", 60), leases.take("a/b", "y", 60), leases.take("a/b", "x", 60)]
    leases.release("a/b", "y")
    story.append(leases.take("a/b", "y", 60))
    leases.release("a/b", "x")
    leases.release("a/b", "x")
    story += [leases.take("a/b", "y", 60), leases.take("a/b", "x", 60), leases.take("a/c", "x", 60)]
    return story


STORY = [True, False, True, False, True, False, True]


def test_one_holds_it_until_it_is_given_back(leases: LeaseStore) -> None:
    assert history(leases) == STORY
    assert [(each.name, each.owner, each.term) for each in leases.held()] == [("a/b", "y", 2), ("a/c", "x", 1)]


def test_a_service_keeps_leases_as_the_database_does(remote: RemoteLeases) -> None:
    assert history(remote) == STORY
    assert [(each.name, each.owner, each.term) for each in remote.held()] == [("a/b", "y", 2), ("a/c", "x", 1)]
    with pytest.raises(InvalidArgument, match="regex"):
        remote.take("a//b", "x", 1)


def test_a_lease_ends_by_itself(leases: LeaseStore) -> None:
    assert leases.take("a", "x", 0.2)
    assert not leases.take("a", "y", 60)
    time.sleep(0.25)
    assert leases.held() == []
    assert leases.take("a", "y", 60)
    assert not leases.take("a", "x", 60)


def test_the_hosts_clock_is_not_asked_where_the_database_has_its_own(
    database: sa.Engine, leases: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.dialect.name == "sqlite":
        return  # a file has the clock of its only machine
    assert leases.take("a", "x", 60)
    day = 86_400_000_000
    real = clock.now
    for skew in (day, -day):
        monkeypatch.setattr(clock, "now", lambda skew=skew: real() + skew)
        assert not leases.take("a", "y", 60)
        assert [each.owner for each in leases.held()] == ["x"]


def test_a_clock_set_back_prolongs_a_lease_by_its_length_at_most(database: sa.Engine, leases: LeaseStore) -> None:
    assert leases.take("a", "x", 0.3)
    expire(database, "a", clock.now() + 3_600_000_000)  # what it says once the clock went back by an hour
    assert not leases.take("a", "y", 60)
    time.sleep(0.35)
    assert leases.take("a", "y", 60)


def test_of_many_at_once_one_gets_it(leases: LeaseStore) -> None:
    got: list[str] = []
    start = threading.Barrier(8)

    def take(owner: str) -> None:
        start.wait()
        if leases.take("a", owner, 60):
            got.append(owner)

    threads = [threading.Thread(target=take, args=(f"o{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert [each.owner for each in leases.held()] == got


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 86_401])
def test_a_length_that_is_none_is_refused(leases: LeaseStore, seconds: float) -> None:
    with pytest.raises(InvalidArgument, match="seconds"):
        leases.take("a", "x", seconds)


def test_the_fence_holds_the_lease_until_the_transaction_ends(database: sa.Engine, leases: LeaseStore) -> None:
    assert leases.take("a", "x", 60)
    with writing(database) as connection:
        assert is_holder(connection, "a", "x")
        assert not is_holder(connection, "a", "y")
        assert not is_holder(connection, "b", "x")
    expire(database, "a")
    with writing(database) as connection:
        assert not is_holder(connection, "a", "x")


class Told:
    """Leases that answer as they are told."""

    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.asked = 0
        self.during = lambda: None

    def take(self, name: str, owner: str, seconds: float) -> bool:
        self.asked += 1
        self.during()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def release(self, name: str, owner: str) -> None:
        del name, owner

    def held(self) -> list[LeaseRecord]:
        return []


def test_a_holder_trusts_its_lease_from_before_it_asked() -> None:
    told, now = Told(), [100.0]
    lease = Lease(told, "a", "x", 10, clock=lambda: now[0])
    assert not lease.is_held()
    told.during = lambda: now.__setitem__(0, now[0] + 4)
    assert lease.take()
    assert lease.remaining == pytest.approx(6)
    now[0] += 5.9
    assert lease.is_held()
    now[0] += 0.2
    assert not lease.is_held()
    with pytest.raises(Conflict, match="was lost"):
        lease.check()


def test_an_answer_that_took_longer_than_the_lease_is_no_lease() -> None:
    told, now = Told(), [0.0]
    told.during = lambda: now.__setitem__(0, now[0] + 11)
    assert not Lease(told, "a", "x", 10, clock=lambda: now[0]).take()


def test_a_database_that_is_away_does_not_end_a_lease_early() -> None:
    told, now = Told(), [0.0]
    lease = Lease(told, "a", "x", 10, clock=lambda: now[0])
    assert lease.take()
    told.answer = Unavailable("away")
    now[0] = 9
    with pytest.raises(Unavailable):
        lease.take()
    assert lease.is_held()
    told.answer = False
    assert not lease.take()
    assert not lease.is_held()


def test_a_block_holds_and_renews_its_lease(leases: LeaseStore) -> None:
    with holding(leases, "repair/default/t", seconds=2.5) as lease:
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            lease.check()
            time.sleep(0.02)
        with pytest.raises(Conflict, match=f"being done by {lease.owner}"), holding(leases, "repair/default/t"):
            raise AssertionError
    assert leases.held() == []
    assert new_owner() != new_owner()
