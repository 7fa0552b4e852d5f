"""Places of a registry: a database of each kind, and a way into it around all code of Tiffin."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.servers.postgres import PostgresServer

Rows = list[tuple[Any, ...]]


class Place(Protocol):
    """A database that does not exist yet, or is empty."""

    url: str

    def rows(self, query: str) -> Rows:
        """The rows of a query whose columns have names of their own."""
        ...

    def empty(self) -> Place:
        """One with nothing in it; what this one held may be gone."""
        ...


class SqlitePlace:
    """A file, read with nothing but sqlite3."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def rows(self, query: str) -> Rows:
        with closing(sqlite3.connect(self.path)) as raw:
            return raw.execute(query).fetchall()

    def empty(self) -> SqlitePlace:
        return SqlitePlace(self.path.with_name(f"another {self.path.name}"))


class PostgresPlace:
    """A database of a server, read with psql. All tests share one, which each finds empty: making one takes long."""

    _urls: ClassVar[dict[int, str]] = {}

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = self._urls.setdefault(server.port, "") or server.database()
        self._urls[server.port] = self.url
        self.name = self.url.rsplit("/", 1)[1]
        self.sql("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")
        left = self.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert left == "0\n", f"{self.name} cannot be emptied; the server's log ends with\n{server.log[-2000:]}"

    def rows(self, query: str) -> Rows:
        found = self.sql(f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) AS q")
        return [tuple(row.values()) for row in json.loads(found)]

    def empty(self) -> PostgresPlace:
        return PostgresPlace(self.server)

    def sql(self, statement: str) -> str:
        return self.server.sql(statement, self.name)
