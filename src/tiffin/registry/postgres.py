"""PostgreSQL: the registry's database for many machines, through psycopg 3.

Nothing waits for ever: connections, locks, statements and transactions that do nothing all have an end, and a peer that
is gone is noticed. What is read in one transaction is one state (REPEATABLE READ, READ ONLY); what writes takes a row
that all writers take, so READ COMMITTED suffices for it.

Limits are set in the statement that begins a transaction, not in the session, and nothing is prepared: so a pooler such
as PgBouncer may stand between.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from tiffin.errors import InvalidConfig, MissingDependency
from tiffin.registry.dialect import PATIENCE, WRITE, as_json

#: Seconds until a connection counts as failed, and until one of the pool must have become free.
CONNECT_SECONDS: Final = 5
POOL_SECONDS: Final = 10
#: Seconds that a statement may take, that it may wait for a lock, and that a transaction may stand still.
STATEMENT_SECONDS: Final = 30
LOCK_SECONDS: Final = 10
IDLE_SECONDS: Final = 60

_DRIVER: Final = "postgresql+psycopg"
#: What libpq is told unless the URL says otherwise.
_CONNECTION: Final = {
    "application_name": "tiffin",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}


def make_engine(url: sa.URL) -> sa.Engine:
    """The engine of a server; it connects when it is first used.

    ``postgresql://`` means psycopg 3. MissingDependency without it; InvalidConfig for another driver.
    """
    if url.drivername not in {"postgresql", _DRIVER}:
        raise InvalidConfig(
            f"The registry's URL names the driver {url.drivername!r}; Tiffin speaks to PostgreSQL through psycopg 3.",
            field="registry",
            hint="Write postgresql://user@host/database.",
        )
    try:
        import psycopg  # noqa: F401  (SQLAlchemy would name a module, not the extra)
    except ImportError as error:
        raise MissingDependency("psycopg", extra="postgres", purpose="A registry on PostgreSQL") from error
    engine = sa.create_engine(
        url.set(drivername=_DRIVER),
        connect_args={key: value for key, value in _CONNECTION.items() if key not in url.query}
        | {"prepare_threshold": None},
        json_serializer=as_json,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_timeout=POOL_SECONDS,
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    connection.autocommit = True  # transactions begin in _begin alone


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    # Whether a transaction that writes may, is left to the database: it may be a standby.
    mode = "READ COMMITTED" if options.get(WRITE, False) else "REPEATABLE READ READ ONLY"
    statement, lock = STATEMENT_SECONDS, LOCK_SECONDS
    if PATIENCE in options:
        statement = lock = options[PATIENCE]
    # Only numbers of ours go into the text. One round trip begins the transaction and bounds it.
    connection.exec_driver_sql(
        f"BEGIN ISOLATION LEVEL {mode}; SET LOCAL statement_timeout = '{statement:d}s'; "
        f"SET LOCAL lock_timeout = '{lock:d}s'; "
        f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS:d}s'"
    )
