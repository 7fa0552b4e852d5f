"""Database: one door to the SQL database that holds the registry and the jobs.

SQLite runs in WAL with a busy timeout, foreign keys and ``BEGIN IMMEDIATE`` for writes: a reader never waits, and a
transaction that will write takes the lock before it reads. All errors of the driver are mapped here.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from tiffin import clock
from tiffin.errors import ConcurrentChange, FailedPrecondition, InvalidConfig, StorageError, Unavailable
from tiffin.registry import tables

BUSY_SECONDS: Final = 30
_WRITE: Final = "tiffin_write"
#: PostgreSQL: whoever creates or migrates the schema holds this advisory lock.
_SCHEMA_LOCK: Final = 7_463_346

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


def open_database(url: str) -> sa.Engine:
    """The database behind a URL such as ``sqlite:////path/registry.db``, its schema created or migrated.

    Safe when many processes open an absent database at once. Close it with ``engine.dispose()``.
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise _unusable(url, "is not the URL of a database") from None
    if parsed.get_backend_name() == "sqlite":
        engine = _open_sqlite(url, parsed)
    elif parsed.get_backend_name() == "postgresql":
        engine = sa.create_engine(parsed, pool_pre_ping=True, json_serializer=_json)
    else:
        raise _unusable(url, f"names the database {parsed.get_backend_name()!r}, which Tiffin does not know")
    _engines.add(engine)
    _ensure_schema(engine)
    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads: one consistent state, which waits for nobody."""
    with _mapped(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: committed when the block ends, undone when it raises."""
    with _mapped(engine), engine.execution_options(**{_WRITE: True}).begin() as connection:
        yield connection


def _open_sqlite(url: str, parsed: sa.URL) -> sa.Engine:
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise _unusable(url, "names no file")
    try:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder of {parsed.database} cannot be made: {error.strerror}.",
            field="home",
            hint="Name a folder, or a place where one may be made.",
        ) from error
    engine = sa.create_engine(parsed, json_serializer=_json, pool_timeout=BUSY_SECONDS)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite alone
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    # Switching a new file to WAL needs it alone, and SQLite does not wait for that by itself.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection_errors() as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def connection_errors() -> type[Exception]:
    """What SQLite's driver raises for a file that is busy or cannot be used."""
    import sqlite3

    return sqlite3.OperationalError


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _ensure_schema(engine: sa.Engine) -> None:
    """Create the schema in an empty database, migrate an older one, refuse a newer one."""
    if _stored_version(engine) == tables.SCHEMA_VERSION:
        return
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        stored = _version_in(connection)  # another process may have been first
        if stored is None:
            _create(connection)
        elif stored > tables.SCHEMA_VERSION:
            raise FailedPrecondition(
                f"The database {engine.url.render_as_string()} has schema {stored}, this Tiffin knows "
                f"{tables.SCHEMA_VERSION}.",
                hint="Upgrade Tiffin.",
            )
        elif stored < tables.SCHEMA_VERSION:
            from tiffin.registry.migrate import migrate  # alembic is slow to import and seldom needed

            migrate(connection)


def _stored_version(engine: sa.Engine) -> str | None:
    with reading(engine) as connection:
        return _version_in(connection)


def _version_in(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(tables.schema_version.name):
        return None
    return connection.execute(sa.select(tables.schema_version.c.version_num)).scalar_one_or_none()


def _create(connection: sa.Connection) -> None:
    tables.metadata.create_all(connection, checkfirst=False)
    seed(connection)
    seed_access(connection)
    connection.execute(tables.schema_version.insert().values(version_num=tables.SCHEMA_VERSION))


def seed(connection: sa.Connection) -> None:
    """The rows that an empty registry has: its version, and the project that always exists."""
    connection.execute(tables.registry_version.insert().values(id=1, version=0))
    connection.execute(
        tables.projects.insert().values(name="default", created=clock.now(), created_by="tiffin", archived=None)
    )


def seed_access(connection: sa.Connection) -> None:
    """The row that counts the changes of tokens."""
    connection.execute(tables.access_version.insert().values(id=1, version=0))


@contextmanager
def _mapped(engine: sa.Engine) -> Iterator[None]:
    """The driver's errors as Tiffin's."""
    try:
        yield
    except exc.IntegrityError as error:
        raise ConcurrentChange(f"Another writer was first: {error.orig}.", hint="Read again and retry.") from error
    except exc.TimeoutError as error:
        raise Unavailable("All connections to the database are in use.", hint="Try again later.") from error
    except exc.OperationalError as error:
        cause = str(error.orig)
        if "locked" in cause or "busy" in cause or error.connection_invalidated:
            raise Unavailable(f"The database is busy or away: {cause}.", hint="Try again later.") from error
        raise _refused(engine, error) from error
    except exc.DBAPIError as error:
        raise _refused(engine, error) from error


def _refused(engine: sa.Engine, error: exc.DBAPIError) -> StorageError:
    place = engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string(hide_password=True)
    return StorageError(
        f"The database {place} refused the work: {error.orig}.",
        field="registry",
        hint="Check that it is a database of Tiffin, that it may be written, and that its disk has room.",
    )


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _unusable(url: str, reason: str) -> InvalidConfig:
    return InvalidConfig(
        f"{url!r} {reason}.", field="registry", hint="Write sqlite:////absolute/path/registry.db, for example."
    )


def _forget_connections() -> None:
    """A forked child must not speak on its parent's connections."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)
