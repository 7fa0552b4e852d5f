"""Sources: where a service learns which tokens there are, and where it writes what was done or denied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import sqlalchemy as sa

from tiffin.errors import InvalidConfig, Unavailable
from tiffin.registry.access import named, read_roles
from tiffin.registry.audit import AuditLog, Event
from tiffin.registry.sql import SqlRegistry
from tiffin.registry.tokens import Known, Token, TokenStore
from tiffin.remote.http import Connection

if TYPE_CHECKING:
    from tiffin.workspace import Workspace

_ACCESS: Final = "/api/v1/access"
_AUDIT: Final = "/api/v1/audit"


class AccessSource(Protocol):
    """What a gate stands on. Everything blocks, and raises an error of Tiffin's tree where the source is away."""

    def known(self, since: int) -> Known:
        """The tokens that may be used, if they changed after version ``since``; -1 asks in any case."""
        ...

    def add(self, events: Sequence[Event]) -> None:
        """Put events into the audit log."""
        ...

    def prune(self, before: int) -> None:
        """Forget the events of the audit log before an instant, where the source is the one who keeps it."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class DatabaseSource:
    """The registry's own database, which ``engine`` opens at its first use: it may be away when a service starts."""

    def __init__(self, engine: Callable[[], sa.Engine]) -> None:
        self._engine = engine

    def known(self, since: int) -> Known:
        return TokenStore(self._engine()).known(since)

    def add(self, events: Sequence[Event]) -> None:
        AuditLog(self._engine()).add(events)

    def prune(self, before: int) -> None:
        AuditLog(self._engine()).prune(before)

    def close(self) -> None:
        """The engine belongs to the registry."""


class CoreSource:
    """The registry service, to which the option ``auth_token`` must show an admin of every project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, since: int) -> Known:
        return decode_known(self._connection.get(_ACCESS, since=since))

    def add(self, events: Sequence[Event]) -> None:
        # Not tried again here: the recorder sends what was not taken with the next second's events.
        self._connection.post(_AUDIT, {"events": [msgspec.structs.asdict(event) for event in events]})

    def prune(self, before: int) -> None:
        """The registry service prunes its log itself."""

    def close(self) -> None:
        self._connection.close()


class _Entry(msgspec.Struct, frozen=True):
    """One token as it travels and is kept: with its hash, since whoever has that still has no token."""

    id: str
    name: str
    hash: str
    roles: dict[str, str]
    expires: int | None = None


class _Document(msgspec.Struct, frozen=True):
    version: int
    tokens: tuple[_Entry, ...] | None = None


def encode_known(known: Known) -> dict[str, Any]:
    """Known tokens as plain data."""
    tokens = None
    if known.tokens is not None:
        fields = [(token, {"roles": named(token.roles), "expires": token.expires}) for token in known.tokens]
        tokens = [{"id": token.id, "name": token.name, "hash": token.hash} | more for token, more in fields]
    return {"version": known.version, "tokens": tokens}


def decode_known(data: object) -> Known:
    """What :func:`encode_known` told; Unavailable where it is something else."""
    try:
        document = msgspec.convert(data, _Document)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"The registry service did not answer with tokens: {error}.",
            field="core_url",
            hint="Check that option core_url names a registry service of this version.",
        ) from error
    if document.tokens is None:
        return Known(document.version, None)
    return Known(
        document.version,
        tuple(
            Token(entry.id, entry.name, entry.hash, read_roles(entry.roles), 0, "", entry.expires)
            for entry in document.tokens
        ),
    )


def engine_of(workspace: Workspace) -> sa.Engine:
    """The registry's database, opened where it was not yet; InvalidConfig where the registry has none."""
    store = getattr(workspace.registry, "store", None)
    if isinstance(store, SqlRegistry):
        return store.engine
    raise no_database()


def no_database() -> InvalidConfig:
    """The error of a registry that is in no database."""
    return InvalidConfig(
        "Tokens and the audit log need a registry in a database.",
        field="registry",
        hint="Set registry to a sqlite:// or postgresql:// URL.",
    )
