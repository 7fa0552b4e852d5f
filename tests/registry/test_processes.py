"""Several processes on one database: all are in time, nothing acknowledged is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.registry.places import Place
from tests.registry.processes import at_once
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import ConcurrentChange
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.types import ValueType

PROCESSES = 8

pytestmark = pytest.mark.serial


def table(name: str, description: str = "") -> FeatureTable:
    return FeatureTable(name, ["driver_id"], [Feature("f", ValueType.FLOAT)], description=description)


@contextmanager
def registry(url: str) -> Iterator[Registry]:
    opened = Registry(open_registry(url))
    try:
        yield opened
    finally:
        opened.close()


def open_and_list(url: str) -> list[str]:
    with registry(url) as opened:
        return opened.projects()


def apply_each(url: str, process: int, count: int) -> int:
    with registry(url) as opened:
        opened.apply(Entity("driver_id", value_type=ValueType.INT64))
        return sum(len(opened.apply(table(f"t{process}_{number}")).changes) for number in range(count))


def overwrite(url: str, process: int, count: int) -> list[str]:
    """Apply fresh objects of one name again and again: the last writer wins, every one is acknowledged."""
    texts = [f"{process}.{number}" for number in range(count)]
    with registry(url) as opened:
        for text in texts:
            opened.apply(table("shared", text))
    return texts


def edit(url: str, process: int, count: int) -> list[str]:
    """Read, change, apply: what another process changed meanwhile is not overwritten."""
    done = []
    with registry(url) as opened:
        for number in range(count):
            mine = opened.snapshot(fresh=True).feature_table("shared")
            mine.description = f"{mine.description} {process}.{number}".strip()
            try:
                opened.apply(mine)
            except ConcurrentChange:
                continue
            done.append(f"{process}.{number}")
    return done


def begin(place: Place, description: str) -> None:
    with registry(place.url) as opened:
        opened.apply([Entity("driver_id", value_type=ValueType.INT64), table("shared", description)])


def test_processes_may_open_an_absent_database_at_once(place: Place) -> None:
    assert at_once(open_and_list, [(place.url,)] * PROCESSES) == [["default"]] * PROCESSES
    assert place.rows("select count(*) as n from alembic_version") == [(1,)]
    assert place.rows("select count(*) as n from projects") == [(1,)]


def test_applies_on_different_objects_all_succeed(place: Place) -> None:
    arguments = [(place.url, process, 50) for process in range(PROCESSES)]
    assert at_once(apply_each, arguments) == [50] * PROCESSES
    assert place.rows("select kind, count(*) as n from objects where not deleted group by kind order by kind") == [
        ("Entity", 1),
        ("FeatureTable", 50 * PROCESSES),
    ]
    assert place.rows("select max(revision) as m, count(*) as n from revisions") == [(1, 50 * PROCESSES + 1)]


def test_every_acknowledged_revision_of_one_object_is_in_its_history(place: Place) -> None:
    begin(place, "first")
    found = at_once(overwrite, [(place.url, process, 5) for process in range(PROCESSES)])
    history = place.rows("select revision, spec from revisions where name = 'shared' order by revision")
    assert [revision for revision, _ in history] == list(range(1, PROCESSES * 5 + 2))
    texts = [json.loads(spec)["description"] for _, spec in history]
    assert sorted(texts) == sorted(["first", *(text for texts in found for text in texts)])


def test_edits_of_one_object_lose_or_build_on_each_other(place: Place) -> None:
    begin(place, "")
    found = at_once(edit, [(place.url, process, 5) for process in range(PROCESSES)])
    acknowledged = {text for texts in found for text in texts}
    with registry(place.url) as opened:
        latest = opened.get(FeatureTable, "shared")
    assert len(acknowledged) >= 5
    assert set(latest.description.split()) == acknowledged
    assert latest.meta is not None
    assert latest.meta.revision == len(acknowledged) + 1
