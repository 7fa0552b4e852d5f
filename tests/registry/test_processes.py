"""Several processes on one database: all are in time, nothing acknowledged is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

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


def registry(url: str) -> Registry:
    return Registry(open_registry(url))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(query).fetchall()


def open_and_list(url: str) -> list[str]:
    return registry(url).projects()


def apply_each(url: str, process: int, count: int) -> int:
    opened = registry(url)
    opened.apply(Entity("driver_id", value_type=ValueType.INT64))
    return sum(len(opened.apply(table(f"t{process}_{number}")).changes) for number in range(count))


def overwrite(url: str, process: int, count: int) -> list[str]:
    """Apply fresh objects of one name again and again: the last writer wins, every one is acknowledged."""
    opened = registry(url)
    done = []
    for number in range(count):
        text = f"{process}.{number}"
        opened.apply(table("shared", text))
        done.append(text)
    return done


def edit(url: str, process: int, count: int) -> list[str]:
    """Read, change, apply: what another process changed meanwhile is not overwritten."""
    opened = registry(url)
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


def test_processes_may_open_an_absent_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "registry.db"
    assert at_once(open_and_list, [(f"sqlite:///{path}",)] * PROCESSES) == [["default"]] * PROCESSES
    assert rows(path, "select count(*) from alembic_version union all select count(*) from projects") == [(1,), (1,)]


def test_applies_on_different_objects_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    arguments = [(f"sqlite:///{path}", process, 50) for process in range(PROCESSES)]
    assert at_once(apply_each, arguments) == [50] * PROCESSES
    assert rows(path, "select kind, count(*) from objects where not deleted group by kind order by kind") == [
        ("Entity", 1),
        ("FeatureTable", 50 * PROCESSES),
    ]
    assert rows(path, "select max(revision), count(*) from revisions") == [(1, 50 * PROCESSES + 1)]


def test_every_acknowledged_revision_of_one_object_is_in_its_history(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry(f"sqlite:///{path}").apply([Entity("driver_id", value_type=ValueType.INT64), table("shared", "first")])
    found = at_once(overwrite, [(f"sqlite:///{path}", process, 10) for process in range(PROCESSES)])
    history = rows(
        path, "select revision, json_extract(spec, '$.description') from revisions where name = 'shared' order by 1"
    )
    assert [revision for revision, _ in history] == list(range(1, PROCESSES * 10 + 2))
    assert sorted(str(text) for _, text in history) == sorted(["first", *(text for texts in found for text in texts)])


def test_edits_of_one_object_lose_or_build_on_each_other(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry(f"sqlite:///{path}").apply([Entity("driver_id", value_type=ValueType.INT64), table("shared")])
    found = at_once(edit, [(f"sqlite:///{path}", process, 10) for process in range(PROCESSES)])
    acknowledged = {text for texts in found for text in texts}
    latest = registry(f"sqlite:///{path}").get(FeatureTable, "shared")
    assert len(acknowledged) >= 10
    assert set(latest.description.split()) == acknowledged
    assert latest.meta is not None
    assert latest.meta.revision == len(acknowledged) + 1
