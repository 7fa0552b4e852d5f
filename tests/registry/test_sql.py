"""SQLite passes the shipped suite, checked by reading the file with nothing but sqlite3."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tiffin.registry.base import Key
from tiffin.registry.sql import SqlRegistry, open_registry
from tiffin.testing.registry import Peeked, RegistrySuite, StoreSuite

PRESENT = """
    select o.revision, o.deleted, r.spec from objects o join revisions r using (project, kind, name, revision)
    where project = ? and kind = ? and name = ?
"""


class TestSqliteRegistry(StoreSuite, RegistrySuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqlRegistry]:
        store = open_registry(f"sqlite:///{tmp_path}/deep/registry.db")
        yield store
        store.close()

    def peek(self, store: Any, key: Key) -> Peeked | None:
        with closing(sqlite3.connect(store.engine.url.database)) as raw:
            row = raw.execute(PRESENT, key).fetchone()
        return row and Peeked(row[0], bool(row[1]), json.loads(row[2]))
