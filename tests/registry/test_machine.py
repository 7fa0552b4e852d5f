"""The registry against its model, in memory and in SQLite."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis.stateful import invariant

from tests.registry.machine import RegistryMachine, stored
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.sql import SqlRegistry, open_registry


class InMemory(RegistryMachine):
    def open(self) -> MemoryRegistry:
        return MemoryRegistry()


class InSqlite(RegistryMachine):
    def open(self) -> SqlRegistry:
        self.folder = tempfile.TemporaryDirectory()
        return open_registry(f"sqlite:///{self.folder.name}/registry.db")

    @invariant()
    def the_file_holds_every_revision(self) -> None:
        expected = [
            (*key, number, action)
            for key in sorted(self.model)
            for number, (action, _) in enumerate(self.model[key], start=1)
        ]
        assert stored(f"{self.folder.name}/registry.db") == expected

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestInSqlite = InSqlite.TestCase
TestInSqlite.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
