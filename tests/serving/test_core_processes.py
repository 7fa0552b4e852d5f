"""Many clients and several services on one database, services that are killed: nothing acknowledged is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.places import Place, PostgresPlace, SqlitePlace
from tests.registry.processes import at_once
from tests.servers.postgres import PostgresServer
from tests.servers.service import Service, core_service
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import ConcurrentChange, TiffinError, Unavailable
from tiffin.registry.remote import RemoteRegistry
from tiffin.remote.http import Connection
from tiffin.types import ValueType

PROCESSES = 8
TABLES = 50

pytestmark = pytest.mark.serial


def table(name: str, description: str = "") -> FeatureTable:
    return FeatureTable(name, ["driver_id"], [Feature("f", ValueType.FLOAT)], description=description)


def remote(url: str) -> RemoteRegistry:
    return RemoteRegistry(Connection(url, timeout=60))


def apply_each(url: str, process: int, count: int) -> int:
    opened = remote(url)
    opened.apply(Entity("driver_id", value_type=ValueType.INT64))
    return sum(len(opened.apply(table(f"t{process}_{number}")).changes) for number in range(count))


def edit(url: str, process: int, count: int) -> list[str]:
    """Read, change, apply: what another process changed meanwhile is not overwritten."""
    opened = remote(url)
    done = []
    for number in range(count):
        mine = opened.snapshot(fresh=True).feature_table("shared")
        mine.description = f"{mine.description} {process}.{number}".strip()
        try:
            opened.apply(mine)
        except ConcurrentChange:
            continue
        done.append(f"{process}.{number}")
    return done


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Place:
    return PostgresPlace(postgres) if request.param == "postgresql" else SqlitePlace(tmp_path / "registry.db")


@pytest.fixture
def services(place: Place, tmp_path: Path) -> Iterator[list[Service]]:
    """Two services on one database, which start at the same time on an empty one."""
    found = [core_service(tmp_path / f"core{number}", place.url) for number in range(2)]
    threads = [threading.Thread(target=each.start) for each in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield found
    for each in found:
        each.kill()


def test_applies_on_different_objects_through_two_services_all_succeed(place: Place, services: list[Service]) -> None:
    arguments = [(services[process % 2].url, process, TABLES) for process in range(PROCESSES)]
    assert at_once(apply_each, arguments) == [TABLES] * PROCESSES
    assert place.rows("select kind, count(*) as n from objects where not deleted group by kind order by kind") == [
        ("Entity", 1),
        ("FeatureTable", TABLES * PROCESSES),
    ]
    assert place.rows("select max(revision) as top, count(*) as n from revisions") == [(1, TABLES * PROCESSES + 1)]
    for each in services:
        assert len(remote(each.url).objects(FeatureTable)) == TABLES * PROCESSES


def test_edits_of_one_object_lose_or_build_on_each_other(place: Place, services: list[Service]) -> None:
    remote(services[0].url).apply([Entity("driver_id", value_type=ValueType.INT64), table("shared")])
    found = at_once(edit, [(services[process % 2].url, process, 8) for process in range(PROCESSES)])
    acknowledged = {text for texts in found for text in texts}
    latest = remote(services[1].url).get(FeatureTable, "shared")
    assert len(acknowledged) >= 8
    assert set(latest.description.split()) == acknowledged
    assert latest.meta is not None
    assert latest.meta.revision == len(acknowledged) + 1
    assert place.rows("select count(*) as n from revisions where name = 'shared'") == [(len(acknowledged) + 1,)]


def test_what_one_service_changes_the_other_tells_at_once(place: Place, services: list[Service]) -> None:
    del place
    one, other = (remote(each.url) for each in services)
    one.apply(Entity("driver_id", value_type=ValueType.INT64))
    assert other.snapshot(fresh=True).entity("driver_id").value_type is ValueType.INT64
    other.apply(table("t"))
    assert one.snapshot(fresh=True).feature_table("t") == table("t")


def test_every_acknowledged_revision_survives_kills_of_the_service(place: Place, tmp_path: Path) -> None:
    run(core_service(tmp_path / "core", place.url), place, kills=4, seed=1)


def run(service: Service, place: Place, *, kills: int, seed: int) -> int:
    """Writers that go on while the service is killed again and again; how many revisions were acknowledged."""
    service.start()
    remote(service.url).apply(Entity("driver_id", value_type=ValueType.INT64))
    over = threading.Event()
    acknowledged: dict[str, list[str]] = {f"t{number}": [] for number in range(4)}
    unexpected: list[TiffinError] = []

    def write(name: str) -> None:
        opened = RemoteRegistry(Connection(service.url, timeout=30))
        number = 0
        while not over.is_set():
            text = f"{name}.{number}"
            try:
                opened.apply(table(name, text))
            except Unavailable:
                continue  # a start that took longer than the client's patience: ask again for the same
            except TiffinError as error:
                unexpected.append(error)
                return
            acknowledged[name].append(text)
            number += 1

    threads = [threading.Thread(target=write, args=(name,)) for name in acknowledged]
    for thread in threads:
        thread.start()
    chance = random.Random(seed)
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 0.6))
        service.kill()
        service.start()
    over.set()
    for thread in threads:
        thread.join()
    try:
        # A request whose answer was lost is sent again: no writer noticed anything but, at most, the absence.
        assert unexpected == []
        for name, texts in acknowledged.items():
            history = [each.spec["description"] for each in remote(service.url).history(name)]
            # Each was written once, in its order, though some were sent twice.
            assert history == texts
            rows = place.rows(f"select revision from revisions where name = '{name}' order by revision")
            assert [row[0] for row in rows] == list(range(1, len(texts) + 1))
    finally:
        service.kill()
    return sum(map(len, acknowledged.values()))
