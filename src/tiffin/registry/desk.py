"""Desk: tokens and the audit log for people, in the registry's database or through the registry service.

Both give the same plain data. Who may write to the database needs no role: that is how the first token is made.
"""

from __future__ import annotations

from typing import Any, Final, Protocol
from urllib.parse import quote

import sqlalchemy as sa

from tiffin import clock
from tiffin.registry.access import Roles, named
from tiffin.registry.audit import AuditLog, Question
from tiffin.registry.registry import author
from tiffin.registry.tokens import TokenStore
from tiffin.remote.http import Connection

_TOKENS: Final = "/api/v1/tokens"
_AUDIT: Final = "/api/v1/audit"


class Desk(Protocol):
    """What ``tiffin token`` and ``tiffin audit`` stand on. Tokens and events are dictionaries."""

    def create(self, name: str, roles: Roles, expires: int | None) -> dict[str, Any]:
        """A new token, its text under ``token``. ``expires`` is in UTC microseconds."""
        ...

    def tokens(self) -> list[dict[str, Any]]:
        """Every token there ever was that the caller may govern, without its text."""
        ...

    def revoke(self, token_id: str) -> dict[str, Any]:
        """End a token."""
        ...

    def events(self, question: Question) -> list[dict[str, Any]]:
        """The events that a question asks for, the newest first."""
        ...


class DatabaseDesk:
    """On the registry's database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._tokens = TokenStore(engine)
        self._log = AuditLog(engine)

    def create(self, name: str, roles: Roles, expires: int | None) -> dict[str, Any]:
        token, text = self._tokens.create(name, roles, by=author(), expires=expires)
        return token.to_dict() | {"token": text}

    def tokens(self) -> list[dict[str, Any]]:
        return [token.to_dict() for token in self._tokens.tokens()]

    def revoke(self, token_id: str) -> dict[str, Any]:
        return self._tokens.revoke(token_id, by=author()).to_dict()

    def events(self, question: Question) -> list[dict[str, Any]]:
        return [event.to_dict() for event in self._log.events(question)]


class CoreDesk:
    """Through the registry service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, roles: Roles, expires: int | None) -> dict[str, Any]:
        until = None if expires is None else clock.to_iso(expires)
        body = {"name": name, "roles": named(roles), "expires": until, "by": author()}
        made: dict[str, Any] = self._connection.post(_TOKENS, body)
        return made

    def tokens(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._connection.get(_TOKENS)
        return [_without_text(token) for token in found]

    def revoke(self, token_id: str) -> dict[str, Any]:
        done: dict[str, Any] = self._connection.delete(f"{_TOKENS}/{quote(token_id, safe='')}", by=author())
        return _without_text(done)

    def events(self, question: Question) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._connection.get(
            _AUDIT,
            project=question.project,
            principal=question.principal,
            action=question.action,
            since=None if question.since is None else clock.to_iso(question.since),
            until=None if question.until is None else clock.to_iso(question.until),
            denied=question.denied,
            limit=question.limit,
        )
        return found


def _without_text(token: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in token.items() if name != "token"}
