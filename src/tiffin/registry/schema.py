"""Schema: whether a database has the tables of this Tiffin, and what makes it so."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from tiffin import clock
from tiffin.errors import FailedPrecondition
from tiffin.registry import tables
from tiffin.registry.faults import place

#: PostgreSQL: whoever creates or migrates the schema holds this advisory lock.
_LOCK: Final = 7_463_346
#: Encodings that hold every text: all of Unicode, or bytes as they come.
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})


def stored_version(connection: sa.Connection) -> str | None:
    """The schema that a database has; None for one without."""
    if not sa.inspect(connection).has_table(tables.schema_version.name):
        return None
    return connection.execute(sa.select(tables.schema_version.c.version_num)).scalar_one_or_none()


def check_known(stored: str | None, url: sa.URL) -> None:
    """Raise FailedPrecondition for a schema that only a later Tiffin knows."""
    if stored is not None and stored > tables.SCHEMA_VERSION:
        raise FailedPrecondition(
            f"The database {place(url)} has schema {stored}, this Tiffin knows {tables.SCHEMA_VERSION}.",
            hint="Upgrade Tiffin.",
        )


def behind(stored: str | None, url: sa.URL) -> FailedPrecondition:
    """The error of a database that nobody has brought up to date."""
    found = "no schema of Tiffin yet" if stored is None else f"schema {stored}"
    return FailedPrecondition(
        f"The database {place(url)} has {found}, this Tiffin needs {tables.SCHEMA_VERSION}, and may not change it "
        f"by itself (registry_auto_migrate is false).",
        field="registry_auto_migrate",
        hint="Run: tiffin registry migrate",
    )


def bring_up_to_date(connection: sa.Connection) -> str | None:
    """Create or migrate the schema inside the connection's transaction; the version that was there before."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    stored = stored_version(connection)  # another process may have been first
    check_known(stored, connection.engine.url)
    if stored is None:
        _create(connection)
    elif stored < tables.SCHEMA_VERSION:
        from tiffin.registry.migrate import migrate  # alembic is slow to import and seldom needed

        migrate(connection)
    return stored


def _create(connection: sa.Connection) -> None:
    _check_encoding(connection)
    tables.metadata.create_all(connection, checkfirst=False)
    seed(connection)
    seed_access(connection)
    connection.execute(tables.schema_version.insert().values(version_num=tables.SCHEMA_VERSION))


def _check_encoding(connection: sa.Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding not in _ENCODINGS:
        raise FailedPrecondition(
            f"The database {place(connection.engine.url)} has the encoding {encoding}, which cannot hold every text.",
            field="registry",
            hint="Create it with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        )


def seed(connection: sa.Connection) -> None:
    """The rows that an empty registry has: its version, and the project that always exists."""
    connection.execute(tables.registry_version.insert().values(id=1, version=0))
    connection.execute(
        tables.projects.insert().values(name="default", created=clock.now(), created_by="tiffin", archived=None)
    )


def seed_access(connection: sa.Connection) -> None:
    """The row that counts changes of tokens."""
    connection.execute(tables.access_version.insert().values(id=1, version=0))
