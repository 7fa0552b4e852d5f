"""The reading half of a registry: what it holds, how old that is, and whom a slow source holds up."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tiffin.definitions.entity import Entity
from tiffin.errors import Unavailable
from tiffin.registry.base import Contents
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.reader import RegistryReader
from tiffin.registry.registry import Registry
from tiffin.testing.registry import driver


class Source(MemoryRegistry):
    """May be away, or wait until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def version(self) -> int:
        self._wait()
        return super().version()

    def load(self, since: int = -1) -> Contents:
        self._wait()
        return super().load(since)

    def _wait(self) -> None:
        self.asked.set()
        assert self.go.wait(10)
        if self.away:
            raise Unavailable("away")


@pytest.fixture
def source() -> Source:
    source = Source()
    Registry(source).apply(driver())
    source.asked.clear()
    return source


def test_a_reader_has_no_way_to_change(source: Source) -> None:
    reader = RegistryReader(source)
    assert reader.objects(Entity) == [driver()]
    assert not any(hasattr(reader, name) for name in ("apply", "delete", "rollback", "create_project", "store"))


def test_its_age_counts_from_when_the_source_last_confirmed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.registry import reader as module

    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reader = RegistryReader(source)
    assert (reader.age, reader.held) == (float("inf"), None)
    first = reader.snapshot()
    now[0] += 5
    assert (reader.age, reader.held) == (5, first)
    source.away = True
    assert reader.snapshot() is first
    assert reader.age == 5
    source.away = False
    now[0] += 2
    reader.snapshot()
    assert reader.age == 0


def test_a_fallback_is_used_until_the_source_was_reached_and_never_after(source: Source) -> None:
    old = MemoryRegistry()
    Registry(old).apply([driver(name="old"), driver(name="other")])
    # The file of another database may have the very version that this one has.
    reader = RegistryReader(source, recheck=0, fallback=old.load())
    source.away = True
    assert [each.name for each in reader.objects(Entity)] == ["old", "other"]
    assert reader.age == float("inf")
    with pytest.raises(Unavailable):
        reader.snapshot(fresh=True)
    source.away = False
    assert [each.name for each in reader.objects(Entity)] == ["driver_id"]
    source.away = True
    assert [each.name for each in reader.objects(Entity)] == ["driver_id"]


def test_a_slow_source_holds_up_one_caller_and_not_all(source: Source) -> None:
    reader = RegistryReader(source, recheck=0)
    first = reader.snapshot()
    Registry(source).apply(driver(description="new"))
    source.asked.clear()
    source.go.clear()
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(reader.snapshot()))
    waiting.start()
    assert source.asked.wait(10)
    assert reader.snapshot() is first  # at once, though the other thread still waits
    source.go.set()
    waiting.join()
    assert found[0].entity("driver_id").description == "new"
    assert reader.snapshot() is found[0]
