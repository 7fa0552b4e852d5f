"""The database: how it is opened, created, migrated and forked, and what its errors become."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tiffin.errors import ConcurrentChange, FailedPrecondition, InvalidConfig, StorageError
from tiffin.registry import schema as schemas
from tiffin.registry import tables
from tiffin.registry.database import open_database, reading, writing
from tiffin.registry.migrate import migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = open_database(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def schema(path: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as raw:
        return sorted(raw.execute("select type, name, coalesce(sql, '') from sqlite_master").fetchall())


def pragma(connection: sa.Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_sqlite_runs_in_wal_and_keeps_its_word(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        found = {name: pragma(connection, name) for name in ("journal_mode", "foreign_keys", "synchronous")}
        assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
        assert pragma(connection, "busy_timeout") == 30_000


def test_migrations_from_nothing_give_the_schema_of_the_tables(engine: sa.Engine, path: Path, tmp_path: Path) -> None:
    migrated = tmp_path / "migrated.db"
    other = sa.create_engine(f"sqlite:///{migrated}")
    with other.begin() as connection:
        migrate(connection)
    other.dispose()
    assert schema(migrated) == schema(path)
    for file in (migrated, path):
        with closing(sqlite3.connect(file)) as raw:
            assert raw.execute("select version_num from alembic_version").fetchall() == [(tables.SCHEMA_VERSION,)]
            assert raw.execute("select name from projects").fetchall() == [("default",)]


def test_an_older_schema_is_migrated_when_it_is_opened(
    engine: sa.Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as connection:
        connection.execute(tables.schema_version.update().values(version_num="0000"))
    migrated: list[str] = []
    monkeypatch.setattr("tiffin.registry.migrate.migrate", lambda connection: migrated.append("migrated"))
    open_database(f"sqlite:///{path}").dispose()
    assert migrated == ["migrated"]


def test_a_newer_schema_is_refused(engine: sa.Engine, path: Path) -> None:
    with writing(engine) as connection:
        connection.execute(tables.schema_version.update().values(version_num="9999"))
    with pytest.raises(FailedPrecondition, match=r"9999.*Upgrade"):
        open_database(f"sqlite:///{path}")


def test_a_fresh_process_needs_no_alembic(path: Path) -> None:
    program = (
        "import sys; from tiffin.registry.sql import open_registry;"
        f"open_registry('sqlite:///{path}').load();"
        "print(sorted({'alembic', 'polars', 'deltalake', 'lmdb', 'pandas', 'pyarrow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_readers_see_one_state_and_wait_for_nobody(engine: sa.Engine) -> None:
    query = sa.select(tables.registry_version.c.version)
    with reading(engine) as connection:
        before = connection.execute(query).scalar()
        with writing(engine) as other:
            other.execute(tables.registry_version.update().values(version=7))
        assert connection.execute(query).scalar() == before
    with reading(engine) as connection:
        assert connection.execute(query).scalar() == 7


def test_a_block_that_raises_is_undone(engine: sa.Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(tables.registry_version.update().values(version=7))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with reading(engine) as connection:
        assert connection.execute(sa.select(tables.registry_version.c.version)).scalar() == 0


def test_writers_take_turns(engine: sa.Engine) -> None:
    def add() -> None:
        for _ in range(25):
            with writing(engine) as connection:
                seen = connection.execute(sa.select(tables.registry_version.c.version)).scalar_one()
                connection.execute(tables.registry_version.update().values(version=seen + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.execute(sa.select(tables.registry_version.c.version)).scalar() == 100


def test_a_child_that_was_forked_has_connections_of_its_own(engine: sa.Engine, path: Path) -> None:
    with reading(engine):
        child = os.fork()
        if child == 0:
            with writing(engine) as connection:
                connection.execute(tables.registry_version.update().values(version=5))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("select version from registry_version").fetchall() == [(5,)]


@pytest.mark.parametrize("url", ["registry.db", "sqlite://", "sqlite:///:memory:", "mysql://h/d", "sqlite:///x?a=b"])
def test_urls_that_name_no_usable_database(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        open_database(url)
    assert caught.value.field == "registry"


def test_errors_of_the_driver_are_ours(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(ConcurrentChange), writing(engine) as connection:
        schemas.seed(connection)
    with pytest.raises(StorageError), writing(engine) as connection:
        connection.exec_driver_sql("select * from nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be made"):
        open_database(f"sqlite:///{tmp_path}/file/registry.db")
    (tmp_path / "no.db").write_bytes(b"this is no database, however long one looks at it" * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/no.db")
