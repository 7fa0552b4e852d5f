"""SQLite and PostgreSQL pass the shipped suite, checked by reading them with nothing but sqlite3 and psql."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry.places import Place, PostgresPlace, SqlitePlace
from tests.servers.postgres import PostgresServer
from tiffin.registry.base import Key
from tiffin.registry.sql import SqlRegistry, open_registry
from tiffin.testing.registry import Peeked, RegistrySuite, StoreSuite


class SqlSuite(StoreSuite, RegistrySuite):
    place: Place

    @pytest.fixture
    def store(self, where: Place) -> Iterator[SqlRegistry]:
        self.place = where
        store = open_registry(where.url)
        yield store
        store.close()

    def peek(self, store: Any, key: Key) -> Peeked | None:
        rows = self.place.rows(
            "select o.revision, o.deleted, r.spec from objects o join revisions r on o.project = r.project "
            "and o.kind = r.kind and o.name = r.name and o.revision = r.revision "
            f"where o.project = '{key.project}' and o.kind = '{key.kind}' and o.name = '{key.name}'"
        )
        return Peeked(rows[0][0], bool(rows[0][1]), json.loads(rows[0][2])) if rows else None


class TestSqliteRegistry(SqlSuite):
    @pytest.fixture
    def where(self, tmp_path: Path) -> Place:
        return SqlitePlace(tmp_path / "deep" / "registry.db")


class TestPostgresRegistry(SqlSuite):
    @pytest.fixture
    def where(self, postgres: PostgresServer) -> Place:
        return PostgresPlace(postgres)
