"""LeaseStore: leases as rows of the database, decided by its clock alone."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from tiffin import clock
from tiffin.errors import ConcurrentChange
from tiffin.jobs.lease import LeaseRecord, checked_seconds
from tiffin.registry.database import reading, writing
from tiffin.registry.tables import leases

_POSTGRES_NOW: Final = sa.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
#: What a lease that was given back has as its owner.
_NOBODY: Final = ""


class LeaseStore:
    """The leases of one database: :class:`~tiffin.jobs.lease.Leases`."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def take(self, name: str, owner: str, seconds: float) -> bool:
        length = round(checked_seconds(seconds) * 1_000_000)
        try:
            return self._take(name, owner, length)
        except ConcurrentChange:
            # Two made the row at once. Now it is there.
            return self._take(name, owner, length)

    def release(self, name: str, owner: str) -> None:
        held = (leases.c.name == name, leases.c.owner == owner)
        with writing(self._database) as connection:
            connection.execute(leases.update().where(*held).values(owner=_NOBODY, expires=0))

    def held(self) -> list[LeaseRecord]:
        with reading(self._database) as connection:
            now = database_now(connection)
            query = sa.select(leases).where(leases.c.expires > now).order_by(leases.c.name)
            rows = connection.execute(query).mappings().all()
        return [LeaseRecord(row["name"], row["owner"], row["term"], row["taken"], row["expires"]) for row in rows]

    def _take(self, name: str, owner: str, length: int) -> bool:
        with writing(self._database) as connection:
            row = (
                connection.execute(sa.select(leases).where(leases.c.name == name).with_for_update()).mappings().first()
            )
            now = database_now(connection)  # asked once the row is ours: waiting for it takes time
            if row is None:
                fresh = {"name": name, "owner": owner, "term": 1, "taken": now, "expires": now + length}
                connection.execute(leases.insert().values(fresh | {"length": length}))
                return True
            mine = leases.update().where(leases.c.name == name)
            if row["owner"] == owner and row["expires"] > now:
                connection.execute(mine.values(expires=now + length, length=length))
                return True
            if row["expires"] <= now:
                changes = {"owner": owner, "term": row["term"] + 1, "taken": now, "expires": now + length}
                connection.execute(mine.values(changes | {"length": length}))
                return True
            if row["expires"] > now + row["length"]:
                # The clock was set back. Its holder trusts it for its length at most, counted from now at the latest.
                connection.execute(mine.values(expires=now + row["length"]))
            return False


def is_holder(connection: sa.Connection, name: str, owner: str) -> bool:
    """Whether ``owner`` holds a lease, and goes on holding it until the transaction ends: the fence.

    The row stays locked, so that nobody else takes the lease before what the transaction does is there.
    """
    query = sa.select(leases.c.owner, leases.c.expires).where(leases.c.name == name).with_for_update()
    row = connection.execute(query).first()
    return row is not None and row.owner == owner and row.expires > database_now(connection)


def database_now(connection: sa.Connection) -> int:
    """The database's clock, in UTC microseconds."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(_POSTGRES_NOW).scalar_one())
    return clock.now()
