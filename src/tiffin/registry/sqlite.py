"""SQLite: the registry's database as one file, for one machine.

It runs in WAL with a busy timeout, foreign keys and ``BEGIN IMMEDIATE`` for writes: a reader never waits, and a
transaction that will write takes the lock before it reads.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from tiffin.errors import InvalidConfig, StorageError
from tiffin.registry.dialect import WRITE, as_json

BUSY_SECONDS: Final = 30


def make_engine(url: sa.URL) -> sa.Engine:
    """The engine of a file, which need not exist yet."""
    if not url.database or url.database == ":memory:" or url.query:
        raise InvalidConfig(
            f"{url.render_as_string()!r} names no file.",
            field="registry",
            hint="Write sqlite:////absolute/path/registry.db, for example.",
        )
    engine = sa.create_engine(url, json_serializer=as_json, pool_timeout=BUSY_SECONDS, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def exists(url: sa.URL) -> bool:
    """Whether the file is there."""
    return Path(str(url.database)).exists()


def make_folder(url: sa.URL) -> None:
    """The folder that the file will be in."""
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder of {url.database} cannot be made: {error.strerror}.",
            field="home",
            hint="Name a folder, or a place where one may be made.",
        ) from error


def _configure(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin alone
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    # Switching a new file to WAL needs it alone, and SQLite does not wait for that by itself.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
