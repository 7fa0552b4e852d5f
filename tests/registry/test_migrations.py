"""Migrations: from nothing and from every earlier schema to the one of the tables, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.registry.places import Place, Rows, SqlitePlace
from tiffin.errors import FailedPrecondition
from tiffin.registry import database, tables
from tiffin.registry.database import open_database
from tiffin.registry.migrate import FOLDER, migrate
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.testing.registry import driver

VERSIONS = sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))

_COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default, collation_name
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
_CONSTRAINTS = """
    SELECT conrelid::regclass::text AS relation, conname, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""


def schema(place: Place) -> list[Rows]:
    """Everything that a database says of its tables."""
    if isinstance(place, SqlitePlace):
        return [place.rows("select type, name, coalesce(sql, '') as sql from sqlite_master order by type, name")]
    return [place.rows(query) for query in (_COLUMNS, _INDEXES, _CONSTRAINTS)]


def at_version(place: Place, version: str) -> None:
    """Make the database one that an earlier Tiffin left."""
    engine = database.make_engine(place.url)
    if isinstance(place, SqlitePlace):
        place.path.parent.mkdir(parents=True, exist_ok=True)
    with database.writing(engine) as connection:
        migrate(connection, to=version)
    engine.dispose()


def test_the_newest_migration_is_the_schema_of_the_tables() -> None:
    assert VERSIONS[-1] == tables.SCHEMA_VERSION


@pytest.mark.parametrize("version", VERSIONS)
def test_every_earlier_schema_becomes_that_of_the_tables_and_keeps_its_rows(place: Place, version: str) -> None:
    open_database(place.url).dispose()
    expected = schema(place)
    fresh = place.empty()
    at_version(fresh, version)
    assert fresh.rows("select version_num from alembic_version") == [(version,)]
    _put(fresh)
    registry = Registry(open_registry(fresh.url))
    assert schema(fresh) == expected
    assert fresh.rows("select version_num from alembic_version") == [(tables.SCHEMA_VERSION,)]
    assert registry.objects(type(driver())) == [driver()]
    assert registry.apply(driver()).is_empty
    assert not registry.apply(driver(description="later")).is_empty
    assert fresh.rows("select version from registry_version") == [(2,)]
    assert fresh.rows("select version from access_version") == [(0,)]
    registry.close()


def _put(place: Place) -> None:
    """A definition, as every schema so far holds it."""
    engine = database.make_engine(place.url)
    key = {"project": "default", "kind": "Entity", "name": "driver_id"}
    spec = '{"name":"driver_id","valueType":"INT64"}'
    with database.writing(engine) as connection:
        connection.execute(sa.text("update registry_version set version = 1"))
        connection.execute(
            tables.objects.insert().values(**key, revision=1, deleted=False, created=1, updated=1, version=1)
        )
        connection.execute(
            tables.revisions.insert().values(
                **key, revision=1, action="create", at=1, changed_by="ann", hash=driver().content_hash(), spec=spec
            )
        )
    engine.dispose()


def test_where_it_is_forbidden_nothing_is_migrated_by_the_way(place: Place) -> None:
    with pytest.raises(FailedPrecondition, match="no schema of Tiffin yet") as caught:
        open_database(place.url, migrate=False)
    assert caught.value.hint == "Run: tiffin registry migrate"
    assert not isinstance(place, SqlitePlace) or not place.path.parent.exists()
    at_version(place, "0001")
    with pytest.raises(FailedPrecondition, match="schema 0001"):
        open_registry(place.url, migrate=False)
    assert place.rows("select version_num from alembic_version") == [("0001",)]
    engine = database.make_engine(place.url)
    assert database.schema_version(engine) == "0001"
    assert database.upgrade(engine) == "0001"
    assert database.upgrade(engine) == tables.SCHEMA_VERSION
    engine.dispose()
    open_registry(place.url, migrate=False).close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at_version(place, "0001")
    before = schema(place)

    def half(connection: sa.Connection) -> None:
        migrate(connection)
        connection.execute(sa.text("select * from nothing"))

    monkeypatch.setattr("tiffin.registry.migrate.migrate", half)
    with pytest.raises(OSError, match="nothing"):
        open_database(place.url)
    assert schema(place) == before
    assert place.rows("select version_num from alembic_version") == [("0001",)]
