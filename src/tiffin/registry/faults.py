"""Faults: what a database's driver raises, as Tiffin's errors. No message shows a password or a value of a statement.

A database that is away or busy is Unavailable, whoever lost against another writer gets ConcurrentChange, and what
somebody must set right is told as InvalidConfig while the database is opened, StorageError afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from tiffin.errors import (
    ConcurrentChange,
    InvalidConfig,
    InvalidData,
    StorageError,
    TiffinError,
    Unavailable,
)

#: SQLSTATEs, or their classes, of a server that cannot do it now (PostgreSQL, appendix A).
_AWAY: Final = ("08", "25P03", "53300", "53400", "55P03", "57")
#: Those of a transaction that another one got in the way of.
_OVERTAKEN: Final = ("23", "40")
#: Those of text that this database cannot hold.
_UNFIT: Final = ("22",)
#: Words of a server that answers, but will not have this client; a failed connection has no SQLSTATE.
_UNWELCOME: Final = ("authentication", "does not exist", "pg_hba.conf", "no password supplied", "not permitted")
#: Words of SQLite for a file that somebody else holds.
_BUSY: Final = ("locked", "busy")


@contextmanager
def mapped(engine: sa.Engine, *, opening: bool = False) -> Iterator[None]:
    """Raise the errors of the driver inside the block as Tiffin's."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable("All connections to the database are in use.", hint="Try again later.") from error
    except exc.DBAPIError as error:
        raise _fault(engine, error, opening=opening) from error
    except UnicodeEncodeError as error:
        raise InvalidData(
            "A text holds half a character (a lone surrogate), which no database stores.",
            hint="Decode the text that it came from anew.",
        ) from error


def place(url: sa.URL) -> str:
    """A database as messages name it: a file, or host, port and name, without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host") or "the local socket"
    return f"{url.database or 'postgres'} on {host}{f':{url.port}' if url.port else ''}"


def _fault(engine: sa.Engine, error: exc.DBAPIError, *, opening: bool) -> TiffinError:
    cause = _first_line(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, exc.IntegrityError) or state.startswith(_OVERTAKEN):
        return ConcurrentChange(f"Another writer was first: {cause}.", hint="Read again and retry.")
    if state.startswith(_UNFIT) or isinstance(error, exc.DataError):
        return InvalidData(
            f"The database {place(engine.url)} cannot hold a text or number: {cause}.",
            hint="Shorten it, and leave out NUL.",
        )
    if isinstance(error, exc.OperationalError) and not state and engine.dialect.name == "postgresql":
        return _unreached(engine, error, cause, opening=opening)
    busy = engine.dialect.name == "sqlite" and any(word in cause for word in _BUSY)
    if busy or state.startswith(_AWAY) or error.connection_invalidated:
        return _away(engine, cause)
    return StorageError(
        f"The database {place(engine.url)} refused the work: {cause}.",
        field="registry",
        hint="Check that it is a database of Tiffin, that it may be written, and that its disk has room.",
    )


def _unreached(engine: sa.Engine, error: exc.DBAPIError, cause: str, *, opening: bool) -> TiffinError:
    """The error of a connection that was not made, or that broke."""
    unwelcome = not error.connection_invalidated and any(word in cause for word in _UNWELCOME)
    if unwelcome and opening:
        return InvalidConfig(
            f"The database {place(engine.url)} does not let Tiffin in: {cause}.",
            field="registry",
            hint="Check user, password and name of the database in the option registry.",
        )
    return _away(engine, cause)


def _away(engine: sa.Engine, cause: str) -> Unavailable:
    return Unavailable(f"The database {place(engine.url)} is busy or away: {cause}.", hint="Try again later.")


def _first_line(cause: object) -> str:
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0].strip().rstrip(".")
