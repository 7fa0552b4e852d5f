"""The registry that the client uses: its cache, the meta it gives, what it does when others come in between."""

from __future__ import annotations

import getpass
import threading
from typing import Any

import pytest

from tiffin import Entity, Feature, FeatureTable
from tiffin.errors import ConcurrentChange, Unavailable
from tiffin.registry import registry as module
from tiffin.registry.base import Contents, Transaction
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.registry import Registry, author
from tiffin.testing.registry import driver, trips
from tiffin.types import ValueType


class Watched(MemoryRegistry):
    """Counts what it is asked, and does what a test wants before a commit or instead of an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.before_commit: list[Any] = []
        self.away = False

    def version(self) -> int:
        self._ask("version")
        return super().version()

    def load(self, since: int = -1) -> Contents:
        self._ask(f"load {since}")
        return super().load(since)

    def commit(self, transaction: Transaction) -> int:
        if self.before_commit:
            self.before_commit.pop(0)()
        return super().commit(transaction)

    def _ask(self, what: str) -> None:
        if self.away:
            raise Unavailable("away")
        self.asked.append(what)


def test_a_snapshot_is_asked_for_once_a_second_and_loaded_only_where_it_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    store = Watched()
    mine, other = Registry(store), Registry(store)
    first = mine.snapshot()
    assert store.asked == ["load -1"]
    now[0] += 0.9
    assert mine.snapshot() is first
    now[0] += 0.2
    assert mine.snapshot() is first
    assert store.asked == ["load -1", "version"]
    other.apply(driver())
    store.asked.clear()
    assert mine.snapshot() is first
    now[0] += 1.1
    assert mine.snapshot().entity("driver_id")
    assert store.asked == ["version", "load 0"]
    mine.apply(driver(name="city"))
    assert mine.snapshot().entity("city")


def test_while_the_store_is_away_reads_go_on_and_writes_fail(caplog: pytest.LogCaptureFixture) -> None:
    store = Watched()
    registry = Registry(store, recheck=0)
    registry.apply(driver())
    registry.snapshot()
    store.away = True
    assert registry.get(Entity, "driver_id") == driver()
    assert "away" in caplog.text
    with pytest.raises(Unavailable):
        registry.apply(driver(name="city"))
    with pytest.raises(Unavailable):
        Registry(store).snapshot()


def test_applied_objects_carry_the_meta_of_their_revision() -> None:
    registry = Registry(MemoryRegistry())
    entity, table = driver(), trips()
    registry.apply([entity, table])
    assert table.meta == registry.get(FeatureTable, "trips").meta
    assert table.meta is not None
    assert (table.meta.revision, table.meta.created) == (1, table.meta.updated)
    table.max_age = 60
    registry.apply(table)
    assert table.meta == registry.get(FeatureTable, "trips").meta
    assert table.meta.revision == 2
    copy = trips(max_age=60)
    registry.apply(copy)
    assert copy.meta == table.meta
    registry.delete(FeatureTable, "trips")
    registry.apply(table)
    assert table.meta.revision == 4


def test_unrelated_changes_in_between_do_not_disturb() -> None:
    store = Watched()
    registry, other = Registry(store), Registry(store)
    registry.apply(driver())
    store.before_commit = [lambda: other.apply([driver(name="city"), driver(description="changed")])]
    registry.apply(trips())
    assert [each.action for each in registry.history("trips")] == ["create"]
    assert registry.get(Entity, "driver_id").description == "changed"


def test_without_having_read_the_last_writer_wins_and_both_are_in_history() -> None:
    store = Watched()
    registry, other = Registry(store), Registry(store)
    registry.apply(driver())
    store.before_commit = [lambda: other.apply(driver(description="theirs"))]
    registry.apply(driver(description="mine"))
    assert [each.spec.get("description") for each in registry.history("driver_id")] == [None, "theirs", "mine"]


def test_a_change_in_between_of_what_was_read_is_reported() -> None:
    store = Watched()
    registry, other = Registry(store), Registry(store)
    registry.apply(driver())
    mine = registry.get(Entity, "driver_id")
    mine.description = "mine"
    store.before_commit = [lambda: other.apply(driver(description="theirs"))]
    with pytest.raises(ConcurrentChange, match="at revision 2; the change was made to revision 1"):
        registry.apply(mine)
    with pytest.raises(ConcurrentChange):
        registry.plan(mine)
    assert len(registry.history("driver_id")) == 2


def test_an_equal_change_by_another_is_no_conflict() -> None:
    registry = Registry(MemoryRegistry(), recheck=0)
    registry.apply(driver())
    mine, theirs = registry.get(Entity, "driver_id"), registry.get(Entity, "driver_id")
    mine.description = theirs.description = "the same"
    registry.apply(theirs)
    assert registry.apply(mine).is_empty
    assert mine.meta == theirs.meta


def test_a_copy_from_another_project_has_seen_nothing_of_this_one() -> None:
    registry = Registry(MemoryRegistry(), recheck=0)
    for number in range(3):
        registry.apply(driver(description=str(number)), "test")
    registry.apply(driver(description="production"), "production")
    copied = registry.get(Entity, "driver_id", "test")
    registry.apply(copied, "production")
    assert registry.get(Entity, "driver_id", "production").description == "2"


def test_an_apply_does_not_try_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    store = Watched()
    registry = Registry(store)

    def fail() -> None:
        store.before_commit.append(fail)
        raise ConcurrentChange("again and again")

    store.before_commit = [fail]
    with pytest.raises(ConcurrentChange):
        registry.apply(driver())


def test_threads_share_one_registry() -> None:
    registry = Registry(MemoryRegistry())
    registry.apply(driver())

    def work(place: int) -> None:
        for number in range(20):
            registry.apply(trips(name=f"t{place}_{number}"))
            registry.get(FeatureTable, f"t{place}_{number}")

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.objects(FeatureTable)) == 80


def test_search_finds_features_by_the_words_that_describe_them() -> None:
    registry = Registry(MemoryRegistry())
    rating = Feature("rating", ValueType.FLOAT, {"unit": "stars"}, "How passengers judge")
    registry.apply(
        [driver(), trips(owner="ann", description="Trips of a day"), trips(name="ratings", features=[rating])]
    )
    registry.apply([driver(), trips(name="old", description="of a day")], "gone")
    registry.archive_project("gone")

    def found(text: str, project: str | None = None) -> list[str]:
        return [str(info.ref) for info in registry.search(text, project)]

    assert found("rating") == ["default/ratings:rating"]
    assert found("rat") == ["default/ratings:rating", "default/trips:rate"]
    assert found("STARS passengers") == ["default/ratings:rating"]
    assert found("day count") == ["default/trips:count"]
    assert found("ann driver_id") == ["default/trips:count", "default/trips:rate"]
    assert found("nothing of this") == []
    assert len(found("")) == 3
    assert found("count", "gone") == ["gone/old:count"]
    info = registry.search("stars")[0]
    assert (info.dtype, info.description, info.labels, info.entities) == (
        ValueType.FLOAT,
        "How passengers judge",
        {"unit": "stars"},
        ("driver_id",),
    )


def test_the_author_is_known_even_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert author().startswith(f"{getpass.getuser()}@")

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(module.getpass, "getuser", nobody)
    assert author().startswith("unknown@")
