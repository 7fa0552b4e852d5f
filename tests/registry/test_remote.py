"""The client of a registry service passes the suite of registries, against a service in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry.places import Place, PostgresPlace, SqlitePlace
from tests.servers.postgres import PostgresServer
from tests.servers.service import Service, core_service
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import BreakingChange, InvalidDefinition, NotFound, Unavailable
from tiffin.registry.base import Key
from tiffin.registry.registry import Registry
from tiffin.registry.remote import RemoteRegistry
from tiffin.registry.sql import SqlRegistry, open_registry
from tiffin.remote.http import Connection
from tiffin.testing.registry import Peeked, RegistrySuite, driver, trips


class RemoteSuite(RegistrySuite):
    place: Place

    @pytest.fixture
    def core(self, where: Place, tmp_path: Path) -> Iterator[Service]:
        self.place = where
        service = core_service(tmp_path / "core", where.url)
        service.start()
        yield service
        service.kill()

    @pytest.fixture
    def store(self, core: Service) -> Iterator[SqlRegistry]:
        """What lies behind the service."""
        del core
        store = open_registry(self.place.url)
        yield store
        store.close()

    @pytest.fixture
    def connect(self, core: Service) -> Iterator[Callable[[], RemoteRegistry]]:
        opened: list[Connection] = []

        def connect() -> RemoteRegistry:
            opened.append(Connection(core.url))
            return RemoteRegistry(opened[-1], recheck=0)

        yield connect
        for each in opened:
            each.close()

    def peek(self, store: Any, key: Key) -> Peeked | None:
        rows = self.place.rows(
            "select o.revision, o.deleted, r.spec from objects o join revisions r on o.project = r.project "
            "and o.kind = r.kind and o.name = r.name and o.revision = r.revision "
            f"where o.project = '{key.project}' and o.kind = '{key.kind}' and o.name = '{key.name}'"
        )
        return Peeked(rows[0][0], bool(rows[0][1]), json.loads(rows[0][2])) if rows else None


class TestRemoteOnSqlite(RemoteSuite):
    @pytest.fixture
    def where(self, tmp_path: Path) -> Place:
        return SqlitePlace(tmp_path / "registry.db")

    def test_an_apply_that_is_sent_twice_is_one_revision_and_no_conflict(
        self, core: Service, registry: RemoteRegistry
    ) -> None:
        registry.apply([driver(), trips()])
        mine = registry.get(FeatureTable, "trips")
        mine.description = "mine"
        document = mine.to_document()
        for action in ("update", "none"):
            answer = core.request("POST", "/api/v1/projects/default/apply", json={"objects": [document]}).json()
            assert [change["action"] for change in answer["plan"]["changes"]] == [action]
            assert answer["meta"][0]["revision"] == 2
        assert [each.revision for each in registry.history("trips")] == [1, 2]

    def test_meta_is_that_of_an_embedded_registry(self, store: SqlRegistry, registry: RemoteRegistry) -> None:
        mine = [driver(), trips(), driver()]
        registry.apply(mine)
        embedded = Registry(store)
        for each, kind in zip(mine, (Entity, FeatureTable), strict=False):
            assert each.meta == embedded.get(kind, each.name).meta == registry.get(kind, each.name).meta
        again = trips()
        assert registry.apply(again).is_empty
        assert again.meta == mine[1].meta

    def test_errors_are_those_of_an_embedded_registry(self, store: SqlRegistry, registry: RemoteRegistry) -> None:
        registry.apply([driver(), trips(), FeatureService("model", ["trips:count"])])
        wrong: list[tuple[type[Exception], Callable[[Any], object]]] = [
            (NotFound, lambda where: where.apply(trips(entities=["drivr_id"]))),
            (NotFound, lambda where: where.get(FeatureTable, "tripz")),
            (NotFound, lambda where: where.history("nothing")),
            (NotFound, lambda where: where.diff("trips", 1, 7)),
            (NotFound, lambda where: where.rollback("trips", 9)),
            (NotFound, lambda where: where.plan(FeatureService("m", ["trips:rat"]))),
            (NotFound, lambda where: where.delete(FeatureTable, "../entities/driver_id")),
            (NotFound, lambda where: where.archive_project("a/b")),
            (InvalidDefinition, lambda where: where.apply(driver(name="1"))),
            (InvalidDefinition, lambda where: where.create_project("a/b")),
            (BreakingChange, lambda where: where.delete(FeatureTable, "trips")),
        ]
        for kind, call in wrong:
            with pytest.raises(kind) as there:
                call(registry)
            with pytest.raises(kind) as here:
                call(Registry(store))
            assert there.value.to_dict() == here.value.to_dict()

    def test_reading_goes_on_without_the_service_and_changing_does_not(
        self, core: Service, connect: Callable[[], RemoteRegistry]
    ) -> None:
        registry = connect()
        registry.apply([driver(), trips()])
        assert registry.get(FeatureTable, "trips") == trips()
        core.kill()
        registry.connection.timeout = 0.5
        assert registry.get(FeatureTable, "trips") == trips()
        assert registry.objects(Entity) == [driver()]
        with pytest.raises(Unavailable, match="core service at"):
            registry.snapshot(fresh=True)
        core.start()
        registry.connection.timeout = 10
        registry.apply(driver(description="back"))
        assert registry.get(Entity, "driver_id").description == "back"

    def test_a_reader_loads_only_what_changed(self, core: Service, registry: RemoteRegistry) -> None:
        registry.apply([driver(), trips()])
        before = registry.snapshot()
        asked: list[dict[str, Any]] = []
        real = registry.connection.exchange

        def exchange(method: str, path: str, **arguments: Any) -> Any:
            answer = real(method, path, **arguments)
            if path.endswith("/contents"):
                asked.append(json.loads(answer.content))
            return answer

        registry.connection.exchange = exchange  # type: ignore[method-assign]
        assert registry.snapshot() is before
        registry.apply(driver(description="x"))
        registry.snapshot()
        assert [each["complete"] for each in asked] == [False]
        assert [each["name"] for each in asked[0]["contents"]["records"]] == ["driver_id"]


class TestRemoteOnPostgres(RemoteSuite):
    @pytest.fixture
    def where(self, postgres: PostgresServer) -> Place:
        return PostgresPlace(postgres)
