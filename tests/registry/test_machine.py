"""The registry against its model, in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.registry.machine import RegistryMachine
from tests.registry.places import Place, PostgresPlace, SqlitePlace
from tests.servers.postgres import PostgresServer
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.sql import SqlRegistry, open_registry


class InMemory(RegistryMachine):
    def open(self) -> MemoryRegistry:
        return MemoryRegistry()


class InDatabase(RegistryMachine):
    place: Place

    @invariant()
    def the_database_holds_every_revision(self) -> None:
        expected = [
            (*key, number, action)
            for key in sorted(self.model)
            for number, (action, _) in enumerate(self.model[key], start=1)
        ]
        found = self.place.rows("select project, kind, name, revision, action from revisions order by 1, 2, 3, 4")
        assert found == expected


class InSqlite(InDatabase):
    def open(self) -> SqlRegistry:
        self.folder = tempfile.TemporaryDirectory()
        self.place = SqlitePlace(Path(self.folder.name) / "registry.db")
        return open_registry(self.place.url)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestInSqlite = InSqlite.TestCase
TestInSqlite.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)


def test_in_postgres(postgres: PostgresServer) -> None:
    class InPostgres(InDatabase):
        def open(self) -> SqlRegistry:
            self.place = PostgresPlace(postgres)
            return open_registry(self.place.url)

    run_state_machine_as_test(InPostgres, settings=settings(max_examples=5, stateful_step_count=25, deadline=None))
