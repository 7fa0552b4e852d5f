"""RemoteLeases: the leases that a registry service keeps. Its database's clock decides."""

from __future__ import annotations

from typing import Final

import msgspec

from tiffin.jobs.lease import LeaseRecord, checked_seconds
from tiffin.remote.http import Connection

_LEASES: Final = "/api/v1/leases"


class RemoteLeases:
    """The leases of a registry service: :class:`~tiffin.jobs.lease.Leases`. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, name: str, owner: str, seconds: float) -> bool:
        body = {"name": name, "owner": owner, "seconds": checked_seconds(seconds)}
        # Whoever has taken it already and asks again renews it.
        return bool(self._connection.post(f"{_LEASES}/take", body, retry=True)["taken"])

    def release(self, name: str, owner: str) -> None:
        self._connection.post(f"{_LEASES}/release", {"name": name, "owner": owner}, retry=True)

    def held(self) -> list[LeaseRecord]:
        return msgspec.convert(self._connection.get(_LEASES), list[LeaseRecord])
