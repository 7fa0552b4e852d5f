"""Whole histories as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.places import Place, PostgresPlace, SqlitePlace
from tests.servers.postgres import PostgresServer
from tiffin import Entity, FeatureTable
from tiffin.errors import InvalidData, Unsupported
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.registry import Registry
from tiffin.registry.sql import SqlRegistry, open_registry
from tiffin.registry.transfer import dump, load
from tiffin.testing.registry import driver, trips


@pytest.fixture
def lines() -> list[str]:
    registry = Registry(MemoryRegistry(), recheck=0)
    registry.apply([driver(), trips()], by="ann")
    registry.apply(driver(description="line\u2028break\nand é"), by="bob")
    registry.delete(FeatureTable, "trips")
    registry.apply(driver(), "old")
    registry.archive_project("old")
    return list(dump(registry.store))


@pytest.fixture
def empty(place: Place) -> Iterator[SqlRegistry]:
    store = open_registry(place.url)
    yield store
    store.close()


def test_a_dump_is_loaded_whole_into_another_kind_of_store(lines: list[str], empty: SqlRegistry) -> None:
    assert load(empty, [f"{line}\n" for line in lines]) == 5
    assert list(dump(empty)) == lines
    registry = Registry(empty)
    assert [(each.by, each.action) for each in registry.history("driver_id")] == [("ann", "create"), ("bob", "update")]
    assert registry.projects() == ["default"]
    assert registry.rollback("trips", 1)
    assert registry.get(Entity, "driver_id").created_timestamp == registry.history("driver_id")[0].definition(
    ).last_updated_timestamp  # fmt: skip


def test_a_line_is_an_object_that_says_what_it_is(lines: list[str]) -> None:
    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds == ["project"] * 2 + ["revision"] * 5
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines, "{"], "Line 8"),
        (lambda lines: [lines[0], *lines[2:]], "project 'old' is not among"),
        (lambda lines: [*lines[:2], *lines[3:]], "Line 3.*out of turn"),
        (lambda lines: [line.replace("INT64", "INT46") for line in lines], "Line 3.*INT46"),
        (lambda lines: [line.replace('"Entity"', '"Entitie"') for line in lines], "Entitie"),
        (lambda lines: [*lines, '{"type":"other"}'], "Line 8"),
        (lambda lines: [], "no project 'default'"),
    ],
)
def test_lines_that_do_not_fit_are_named_and_nothing_is_stored(
    lines: list[str], empty: SqlRegistry, change: object, words: str
) -> None:
    assert callable(change)
    with pytest.raises(InvalidData, match=words):
        load(empty, change(lines))
    assert empty.load().records == ()


def test_a_store_that_cannot_be_carried_says_so() -> None:
    with pytest.raises(Unsupported, match="str"):
        list(dump("a store of some other kind"))  # type: ignore[arg-type]


def test_a_registry_moves_from_sqlite_to_postgresql_and_back(
    lines: list[str], tmp_path: Path, postgres: PostgresServer
) -> None:
    there = PostgresPlace(postgres)
    first, second = SqlitePlace(tmp_path / "a.db"), SqlitePlace(tmp_path / "b.db")
    stores = [open_registry(place.url) for place in (first, there, second)]
    load(stores[0], lines)
    # Names that locales order in other ways than code points do.
    Registry(stores[0]).apply([driver(name=name) for name in ("b", "A", "_c", "B", "a_b", "ab")])
    written = list(dump(stores[0]))
    for store in stores[1:]:
        load(store, written)
        assert list(dump(store)) == written
    everything = "select project, kind, name, revision, action, at, changed_by, hash, spec from revisions"
    assert sorted(there.rows(everything)) == sorted(first.rows(everything))
    assert Registry(stores[1]).apply(driver(name="A")).is_empty
    for store in stores:
        store.close()


def test_order_is_by_code_point_whatever_the_locale_of_the_database(postgres: PostgresServer) -> None:
    created = (
        "CREATE DATABASE \"in_english\" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu "
        "ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
    )
    postgres.sql(created)
    assert postgres.sql("select min(n) from (values ('B'), ('a')) as t(n)", "in_english").strip() == "a"
    store = open_registry(f"postgresql://postgres@127.0.0.1:{postgres.port}/in_english")
    names = ["B", "_c", "a", "a_b", "ab"]
    Registry(store).apply([driver(name=name) for name in reversed(names)])
    assert [each.key.name for each in store.load().records] == names
    assert [each.name for each in store.revisions()] == names
    store.close()
