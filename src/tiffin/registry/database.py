"""Database: one door to the SQL database that holds the registry and the jobs."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from tiffin.errors import InvalidConfig
from tiffin.registry import postgres, schema, sqlite, tables
from tiffin.registry.dialect import PATIENCE, WRITE
from tiffin.registry.faults import mapped

#: Seconds that a statement of a migration may take, and that another process may wait for it.
MIGRATION_SECONDS: Final = 600

_BACKENDS: Final[dict[str, Callable[[sa.URL], sa.Engine]]] = {
    "sqlite": sqlite.make_engine,
    "postgresql": postgres.make_engine,
}

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()
#: Pools of a parent process, held so that nothing closes the connections that the parent still uses.
_inherited: list[sa.Pool] = []


def open_database(url: str, *, migrate: bool = True) -> sa.Engine:
    """The database behind a URL such as ``sqlite:////path/registry.db`` or ``postgresql://user@host/database``.

    Its schema is created or migrated, or where ``migrate`` is false, FailedPrecondition says that it must be. Safe when
    many processes open an absent database at once. Close it with ``engine.dispose()``.
    """
    engine = make_engine(url)
    try:
        _ensure_schema(engine, migrate=migrate)
    except BaseException:
        engine.dispose()
        raise
    return engine


def make_engine(url: str) -> sa.Engine:
    """The engine of a database as it is, whatever its schema; nothing is connected yet."""
    # Some hosts hand out "postgres://", which libpq knows and SQLAlchemy does not.
    text = re.sub(r"^postgres(?=[:+])", "postgresql", url.strip())
    try:
        parsed = sa.make_url(text)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError):  # a port that is no number
        raise _unusable(url, "is not the URL of a database") from None
    if backend not in _BACKENDS:
        raise _unusable(url, f"names the database {backend!r}, which Tiffin does not know")
    engine = _BACKENDS[backend](parsed)
    _engines.add(engine)
    return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads: one consistent state, which waits for nobody."""
    with mapped(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: committed when the block ends, undone when it raises."""
    with mapped(engine), engine.execution_options(**{WRITE: True}).begin() as connection:
        yield connection


def upgrade(engine: sa.Engine) -> str | None:
    """Bring a database to the schema of this Tiffin; the version that it had before, None for an empty one."""
    if engine.dialect.name == "sqlite":
        sqlite.make_folder(engine.url)
    patient = engine.execution_options(**{WRITE: True, PATIENCE: MIGRATION_SECONDS})
    with mapped(engine, opening=True), patient.begin() as connection:
        return schema.bring_up_to_date(connection)


def schema_version(engine: sa.Engine) -> str | None:
    """The version of the schema that a database has, None for an empty one; FailedPrecondition for a later one."""
    if engine.dialect.name == "sqlite" and not sqlite.exists(engine.url):
        return None  # to connect would make the file
    with mapped(engine, opening=True), engine.connect() as connection:
        stored = schema.stored_version(connection)
    schema.check_known(stored, engine.url)
    return stored


def _ensure_schema(engine: sa.Engine, *, migrate: bool) -> None:
    stored = schema_version(engine)
    if stored == tables.SCHEMA_VERSION:
        return
    if not migrate:
        raise schema.behind(stored, engine.url)
    upgrade(engine)


def _unusable(url: str, reason: str) -> InvalidConfig:
    return InvalidConfig(
        f"{without_password(url)!r} {reason}.",
        field="registry",
        hint="Write sqlite:////absolute/path/registry.db or postgresql://user@host/database, for example.",
    )


def without_password(url: str) -> str:
    """A URL as messages show it, even one that cannot be parsed."""
    return re.sub(r"^([^:/?]*:?/*[^:/@]*:).*@", r"\1****@", url)


def _forget_connections() -> None:
    """A forked child must not speak on its parent's connections, nor close them."""
    for engine in list(_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)
