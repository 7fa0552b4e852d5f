"""The conformance suites of registries: what passes them keeps the rules of semantics, section 6.

:class:`StoreSuite` is the contract of stores; :class:`RegistrySuite` that of whatever has the methods of
:class:`~tiffin.registry.registry.Registry`, such as the client of a registry service. For a store, subclass both in a
test module, and give them a store and a side door::

    class TestMyRegistry(StoreSuite, RegistrySuite):
        @pytest.fixture
        def store(self):
            store = open_my_registry("my://...")
            yield store
            store.close()

        def peek(self, store, key):
            ...  # read the present state without the store's own code

What is no store overrides the fixture ``connect`` of :class:`RegistrySuite`; its ``store`` is then what lies behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest

from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import (
    AlreadyExists,
    BreakingChange,
    ConcurrentChange,
    FailedPrecondition,
    NotFound,
    ProjectArchived,
)
from tiffin.registry import transfer
from tiffin.registry.base import Guard, Key, RegistryStore, Transaction, Update
from tiffin.registry.registry import Registry
from tiffin.types import ValueType

DRIVER = Key("default", "Entity", "driver_id")
TRIPS = Key("default", "FeatureTable", "trips")


class Peeked(NamedTuple):
    """The present state of an object, as it is really stored."""

    revision: int
    deleted: bool
    spec: dict[str, Any]


def driver(**changes: Any) -> Entity:
    """An entity, with some attributes changed."""
    attributes: dict[str, Any] = {"name": "driver_id", "value_type": ValueType.INT64}
    return Entity(**attributes | changes)


def trips(**changes: Any) -> FeatureTable:
    """A feature table of that entity, with some attributes changed."""
    features = [Feature("count", ValueType.INT32), Feature("rate", ValueType.FLOAT)]
    attributes: dict[str, Any] = {"name": "trips", "entities": ["driver_id"], "features": features}
    return FeatureTable(**attributes | changes)


def put(key: Key, expected: int, value: int = 0, action: Any = "update") -> Update:
    """A change of one object's content to a recognisable one."""
    spec = msgspec.json.encode({"name": key.name, "description": str(value)})
    return Update(key, action, f"hash {value}", spec, expected)


class Behind:
    """What the suites have in common: a store, and a way around its code."""

    @pytest.fixture
    def store(self) -> RegistryStore:
        """An empty store; a subclass provides it."""
        raise NotImplementedError

    def peek(self, store: Any, key: Key) -> Peeked | None:
        """The stored state of an object, read around the store's own code; None where there is none."""
        raise NotImplementedError


class StoreSuite(Behind):
    """The contract of :class:`RegistryStore`: versions, preconditions, all or nothing."""

    def commit(self, store: RegistryStore, *updates: Update, **more: Any) -> int:
        """Commit updates as a test would."""
        return store.commit(Transaction(by="me@here", at=1_000, updates=updates, **more))

    def test_a_new_store_is_empty_but_for_the_default_project(self, store: RegistryStore) -> None:
        contents = store.load()
        assert (contents.version, contents.records, store.version()) == (0, (), 0)
        assert [(each.name, each.archived) for each in contents.projects] == [("default", None)]

    def test_a_commit_is_stored_counted_and_remembered(self, store: RegistryStore) -> None:
        assert self.commit(store, put(DRIVER, 0, 1, "create")) == store.version() == 1
        assert self.commit(store, put(DRIVER, 1, 2)) == store.version() == 2
        assert self.peek(store, DRIVER) == Peeked(2, False, {"name": "driver_id", "description": "2"})
        first, second = store.history(DRIVER)
        assert (first.revision, first.action, first.hash, first.spec["description"]) == (1, "create", "hash 1", "1")
        assert (second.revision, second.action, second.at, second.by) == (2, "update", 1_000, "me@here")

    def test_a_load_gives_only_what_changed_since(self, store: RegistryStore) -> None:
        self.commit(store, put(DRIVER, 0))
        seen = store.version()
        self.commit(store, put(TRIPS, 0, 7))
        later = store.load(seen)
        assert [(each.key, each.revision, each.hash) for each in later.records] == [(TRIPS, 1, "hash 7")]
        assert [each.key for each in store.load().records] == [DRIVER, TRIPS]

    @pytest.mark.parametrize("expected", [0, 2, 9])
    def test_another_revision_than_expected_is_a_concurrent_change(self, store: RegistryStore, expected: int) -> None:
        self.commit(store, put(DRIVER, 0))
        with pytest.raises(ConcurrentChange):
            self.commit(store, put(DRIVER, expected, 5))
        assert self.peek(store, DRIVER) == Peeked(1, False, {"name": "driver_id", "description": "0"})

    def test_one_failed_precondition_undoes_all(self, store: RegistryStore) -> None:
        self.commit(store, put(DRIVER, 0))
        with pytest.raises(ConcurrentChange):
            self.commit(store, put(TRIPS, 0), put(DRIVER, 0), create=("rides",))
        assert self.peek(store, TRIPS) is None
        assert store.history(TRIPS) == []
        assert (store.version(), [each.name for each in store.load().projects]) == (1, ["default"])

    def test_a_guard_fails_where_its_object_changed(self, store: RegistryStore) -> None:
        self.commit(store, put(DRIVER, 0))
        seen = store.version()
        for name in ("driver_id", None):
            self.commit(store, guards=(Guard("default", "Entity", name, seen),))
        self.commit(store, put(DRIVER, 1))
        self.commit(store, guards=(Guard("default", "Entity", "other", seen), Guard("x", "Entity", None, seen)))
        for name in ("driver_id", None):
            with pytest.raises(ConcurrentChange):
                self.commit(store, put(TRIPS, 0), guards=(Guard("default", "Entity", name, seen),))
        assert self.peek(store, TRIPS) is None

    def test_projects_are_created_and_archived(self, store: RegistryStore) -> None:
        key = Key("rides", "Entity", "driver_id")
        self.commit(store, put(key, 0), create=("rides",))
        assert self.peek(store, key) is not None
        with pytest.raises(ConcurrentChange):
            self.commit(store, create=("rides",))
        store.commit(Transaction(by="me", at=2_000, archive=("rides",)))
        found = {each.name: (each.archived, each.archived_by) for each in store.load().projects}
        assert found["rides"] == (2_000, "me")
        for name in ("rides", "absent"):
            with pytest.raises(ConcurrentChange):
                self.commit(store, put(Key(name, "Entity", "x"), 0))
            with pytest.raises(ConcurrentChange):
                self.commit(store, archive=(name,))

    def test_a_deletion_keeps_the_spec(self, store: RegistryStore) -> None:
        self.commit(store, put(DRIVER, 0, 3))
        self.commit(store, put(DRIVER, 1, 3, "delete"))
        assert self.peek(store, DRIVER) == Peeked(2, True, {"name": "driver_id", "description": "3"})
        assert store.load().records[0].deleted

    def test_the_same_name_in_another_kind_or_project_is_another_object(self, store: RegistryStore) -> None:
        keys = [DRIVER, Key("default", "FeatureTable", "driver_id"), Key("rides", "Entity", "driver_id")]
        self.commit(store, *(put(key, 0, value) for value, key in enumerate(keys)), create=("rides",))
        assert [store.history(key)[0].spec["description"] for key in keys] == ["0", "1", "2"]

    def test_writers_of_different_objects_all_succeed(self, store: RegistryStore) -> None:
        keys = [Key("default", "Entity", f"e{number}") for number in range(8)]

        def write(key: Key) -> None:
            for done in range(10):
                self.commit(store, put(key, done, done))

        in_threads([partial(write, key) for key in keys])
        assert store.version() == 80
        assert [len(store.history(key)) for key in keys] == [10] * 8

    def test_writers_of_one_object_lose_or_are_in_its_history(self, store: RegistryStore) -> None:
        acknowledged: list[str] = []

        def write(writer: int) -> None:
            for done in range(10):
                update = put(DRIVER, len(store.history(DRIVER)), writer * 100 + done)
                try:
                    self.commit(store, update)
                except ConcurrentChange:
                    continue
                acknowledged.append(update.hash)

        in_threads([partial(write, writer) for writer in range(4)])
        history = store.history(DRIVER)
        assert sorted(each.hash for each in history) == sorted(acknowledged)
        assert [each.revision for each in history] == list(range(1, len(history) + 1))

    def test_everything_survives_a_dump_and_load(self, store: RegistryStore) -> None:
        registry = Registry(store)
        registry.apply([driver(), trips()], "rides")
        registry.apply(driver(description="x"), "rides")
        registry.delete(FeatureTable, "trips", "rides")
        lines = list(transfer.dump(store))
        with pytest.raises(FailedPrecondition):
            transfer.load(store, lines)
        assert list(transfer.dump(store)) == lines


class RegistrySuite(Behind):
    """The rules of section 6, of anything that has the methods of :class:`Registry`."""

    @pytest.fixture
    def connect(self, store: RegistryStore) -> Callable[[], Any]:
        """What makes one more registry on the same store, which sees changes of others at once."""
        return lambda: Registry(store, recheck=0)

    @pytest.fixture
    def registry(self, connect: Callable[[], Any]) -> Any:
        """The registry that is tried."""
        return connect()

    def test_apply_makes_all_objects_so_in_any_order(self, store: RegistryStore, registry: Any) -> None:
        service = FeatureService("model", ["trips:count"])
        done = registry.apply([service, trips(), driver()])
        assert [change.action for change in done.changes] == ["create"] * 3
        assert registry.get(FeatureTable, "trips") == trips()
        peeked = self.peek(store, TRIPS)
        assert peeked is not None
        assert (peeked.revision, peeked.spec["entities"]) == (1, ["driver_id"])

    def test_an_equal_spec_changes_nothing(self, store: RegistryStore, registry: Any) -> None:
        registry.apply([driver(labels={"a": "1", "b": "2"}), trips()])
        version = store.version()
        again = [driver(labels={"b": "2", "a": "1"}), trips(features=trips().features[::-1])]
        assert registry.apply(again).is_empty
        assert store.version() == version

    def test_all_or_nothing(self, store: RegistryStore, registry: Any) -> None:
        with pytest.raises(NotFound, match="driver_id"):
            registry.apply([driver(name="plane_id"), trips()])
        assert registry.objects(Entity) == []
        assert self.peek(store, Key("default", "Entity", "plane_id")) is None

    def test_revisions_record_who_when_and_what(self, registry: Any) -> None:
        registry.apply(driver(), by="ann@lab")
        registry.apply(driver(description="who drives"), by="bob@lab")
        first, second = registry.history("driver_id")
        assert (first.by, first.action, second.by, second.action) == ("ann@lab", "create", "bob@lab", "update")
        assert first.at <= second.at
        assert first.definition() == driver()
        assert registry.get(Entity, "driver_id", revision=1) == driver()
        assert [str(each) for each in registry.diff("driver_id", 1, 2)] == ["+ description: who drives"]

    def test_breaking_changes_need_to_be_allowed(self, registry: Any) -> None:
        registry.apply([driver(), trips(), FeatureService("model", ["trips:count"])])
        narrower = trips(features=[Feature("rate", ValueType.FLOAT)])
        assert registry.plan(narrower).impact == "breaking"
        assert registry.plan(narrower).services == ("default/model",)
        with pytest.raises(BreakingChange, match="count"):
            registry.apply(narrower)
        assert registry.get(FeatureTable, "trips") == trips()
        registry.apply(narrower, allow_breaking=True)
        assert registry.get(FeatureTable, "trips") == narrower

    def test_a_value_type_never_changes(self, registry: Any) -> None:
        registry.apply(driver())
        for _ in range(2):
            with pytest.raises(FailedPrecondition, match=r"INT64.*STRING"):
                registry.apply(driver(value_type=ValueType.STRING), allow_breaking=True)
            registry.delete(Entity, "driver_id")

    def test_delete_is_soft_and_an_equal_apply_revives(self, store: RegistryStore, registry: Any) -> None:
        registry.apply([driver(), trips()])
        registry.delete(FeatureTable, "trips")
        assert registry.objects(FeatureTable) == []
        with pytest.raises(NotFound, match="deleted"):
            registry.get(FeatureTable, "trips")
        peeked = self.peek(store, TRIPS)
        assert peeked is not None
        assert (peeked.revision, peeked.deleted) == (2, True)
        assert registry.delete(FeatureTable, "trips").is_empty
        assert registry.apply(trips()).changes[0].action == "revive"
        assert registry.get(FeatureTable, "trips") == trips()
        assert [each.action for each in registry.history("trips")] == ["create", "delete", "revive"]

    def test_an_entity_in_use_cannot_be_deleted(self, registry: Any) -> None:
        registry.apply([driver(), trips()])
        with pytest.raises(FailedPrecondition, match="'trips'"):
            registry.delete(Entity, "driver_id")
        registry.delete(FeatureTable, "trips")
        registry.delete(Entity, "driver_id")
        with pytest.raises(NotFound):
            registry.apply(trips())

    def test_rollback_is_a_new_revision(self, registry: Any) -> None:
        registry.apply([driver(), trips()])
        registry.apply(trips(features=[*trips().features, Feature("more", ValueType.BOOL)]))
        registry.rollback("trips", 1)
        assert registry.get(FeatureTable, "trips") == trips()
        assert [each.action for each in registry.history("trips")] == ["create", "update", "rollback"]

    def test_what_was_read_must_not_have_changed_since(self, registry: Any) -> None:
        registry.apply([driver(), trips()])
        mine, theirs = registry.get(FeatureTable, "trips"), registry.get(FeatureTable, "trips")
        theirs.description = "theirs"
        registry.apply(theirs)
        mine.description = "mine"
        with pytest.raises(ConcurrentChange, match="revision 2"):
            registry.apply(mine)
        fresh = registry.get(FeatureTable, "trips")
        fresh.description = "mine"
        registry.apply(fresh)
        assert [each.spec.get("description") for each in registry.history("trips")] == [None, "theirs", "mine"]

    def test_projects_are_namespaces(self, registry: Any) -> None:
        registry.apply([driver(), trips()])
        with pytest.raises(NotFound):
            registry.apply(trips(), "rides")
        assert registry.apply(driver(value_type=ValueType.STRING), "rides").creates_project
        assert registry.projects() == ["default", "rides"]
        assert registry.get(Entity, "driver_id", "rides").value_type is ValueType.STRING
        with pytest.raises(AlreadyExists):
            registry.create_project("rides")

    def test_an_archived_project_can_only_be_read(self, registry: Any) -> None:
        registry.apply([driver(), trips()], "rides")
        registry.archive_project("rides")
        assert registry.projects() == ["default"]
        assert registry.get(FeatureTable, "trips", "rides") == trips()
        changes: list[Callable[[], object]] = [
            lambda: registry.apply(driver(description="x"), "rides"),
            lambda: registry.delete(FeatureTable, "trips", "rides"),
            lambda: registry.rollback("trips", 1, "rides"),
            lambda: registry.archive_project("rides"),
        ]
        for change in changes:
            with pytest.raises(ProjectArchived):
                change()
        with pytest.raises(FailedPrecondition, match="default"):
            registry.archive_project("default")

    def test_objects_are_listed_by_label_and_features_found_by_words(self, registry: Any) -> None:
        registry.apply([driver(labels={"team": "a"}), driver(name="other"), trips(description="daily")])
        registry.apply([driver(), trips(name="rides")], "rides")
        assert [each.name for each in registry.objects(Entity)] == ["driver_id", "other"]
        assert registry.objects(Entity, labels={"team": "a"}) == [driver(labels={"team": "a"})]
        assert [str(each.ref) for each in registry.search("rate")] == ["default/trips:rate", "rides/rides:rate"]
        assert [each.name for each in registry.search("daily count", "default")] == ["count"]
        registry.archive_project("rides")
        assert [each.project for each in registry.search("rate")] == ["default"]

    def test_a_table_cannot_begin_to_use_an_entity_that_goes(
        self, store: RegistryStore, connect: Callable[[], Any]
    ) -> None:
        for _ in range(5):
            connect().apply(driver())
            outcomes = in_threads(
                [
                    lambda: connect().apply(trips()),
                    lambda: connect().delete(Entity, "driver_id"),
                ]
            )
            present = [self.peek(store, key) for key in (DRIVER, TRIPS)]
            alive = [each is not None and not each.deleted for each in present]
            assert alive in ([True, True], [False, False]), outcomes
            for kind, key in ((FeatureTable, TRIPS), (Entity, DRIVER)):
                if self.peek(store, key) is not None:
                    connect().delete(kind, key.name)


def in_threads(works: list[Callable[[], Any]]) -> list[Any]:
    """Do works at the same time; their results, or the errors of Tiffin that they ended with."""
    outcomes: list[Any] = [None] * len(works)
    together = threading.Barrier(len(works))

    def run(place: int, work: Callable[[], Any]) -> None:
        together.wait()
        try:
            outcomes[place] = work()
        except (ConcurrentChange, FailedPrecondition, NotFound) as error:
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
