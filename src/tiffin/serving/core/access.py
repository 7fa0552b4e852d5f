"""The routes of access: tokens, the audit log, and what other services must know to admit callers.

Whoever is an admin of all the projects that a token reaches may make, see and revoke it. So an admin of one project
hands out tokens for that project, and nobody hands out more than they hold.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Response
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from tiffin import clock
from tiffin.errors import InvalidArgument
from tiffin.registry.access import EVERY_PROJECT, Principal, Role, read_roles
from tiffin.registry.audit import AuditLog, Event, Question
from tiffin.registry.tokens import TokenStore
from tiffin.serving.access.rules import Rule, require_all
from tiffin.serving.access.sources import encode_known, engine_of
from tiffin.serving.core.definitions import Author, By
from tiffin.serving.core.routes import GREATEST, PLAIN, Caller, Here, answers
from tiffin.serving.core.state import Core

#: What holds a token is not kept by proxies and browsers.
_PRIVATE: Final = {"Cache-Control": "no-store"}

Instant = Annotated[str | None, QueryParameter(max_length=64, description="An instant, as ISO 8601.")]
Name = Annotated[str | None, QueryParameter(max_length=255, pattern=PLAIN)]
TokenId = Annotated[str, PathParameter(max_length=64, pattern=r"^[0-9a-f]+$", description="A token.")]
_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=GREATEST)]


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to be made. ``roles`` is ``{"project": "reader"}``; ``expires`` an instant, null for never."""

    name: str
    roles: dict[str, str]
    expires: str | None = None
    by: By = ""


class TokenDocument(msgspec.Struct):
    """What is known of a token. ``token`` is its text in the answer that made it, and null ever after."""

    id: str
    name: str
    roles: dict[str, str]
    state: str
    created: str
    created_by: str
    expires: str | None
    revoked: str | None
    revoked_by: str | None
    token: str | None = None

    def __repr__(self) -> str:
        return f"TokenDocument({self.id!r})"


class EventDocument(msgspec.Struct):
    """Something that was done or denied, ``count`` times between ``at`` and ``last``."""

    at: str
    principal: str
    project: str
    action: str
    detail: str
    denied: bool
    count: int
    last: str
    via: str


class Reported(msgspec.Struct, forbid_unknown_fields=True):
    """An event that another service reports. Instants are UTC microseconds."""

    at: _Time
    principal: _Text
    project: _Text
    action: _Text
    detail: _Text = ""
    denied: bool = False
    count: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 1
    last: _Time = 0
    via: _Text = ""


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """Events of another service."""

    events: Annotated[list[Reported], msgspec.Meta(max_length=5000)]


class Access(Controller):
    """Tokens and the audit log."""

    tags = ["access"]

    @answers("GET", "/access", Rule(Role.ADMIN, "read access", "every"))
    def get_access(self, core: Here, since: FromQuery[int] = -1) -> Response[dict[str, Any]]:
        """The tokens that may be used, as hashes, for services that admit callers; null where none changed since."""
        return Response(encode_known(_tokens(core).known(since)), headers=_PRIVATE)

    @answers("GET", "/tokens", Rule(Role.ADMIN, "list tokens", "handler"))
    def list_tokens(self, core: Here, caller: Caller) -> list[TokenDocument]:
        """Every token there ever was that reaches no project but those that the caller is an admin of."""
        _check_admin(core, caller, "list tokens")
        found = _tokens(core).tokens()
        return [TokenDocument(**each.to_dict()) for each in found if _governs(caller, each.roles)]

    @answers("POST", "/tokens", Rule(Role.ADMIN, "create token", "handler"), status=201)
    def create_token(self, core: Here, caller: Caller, data: JSONBody[NewToken]) -> Response[TokenDocument]:
        """Make a token, whose text nobody can ask for again."""
        _check_admin(core, caller, "create token")
        roles = read_roles(data.roles)
        require_all(core.gate, caller, set(roles), Role.ADMIN, action="create token")
        expires = None if data.expires is None else clock.to_micros(data.expires, field="expires")
        author = core.author(caller, data.by)
        token, text = _tokens(core).create(data.name, roles, by=author, expires=expires)
        core.gate.refresh()
        core.metrics.token("created")
        return Response(TokenDocument(**token.to_dict(), token=text), headers=_PRIVATE, status_code=201)

    @answers("DELETE", "/tokens/{token_id:str}", Rule(Role.ADMIN, "revoke token", "handler"))
    def revoke_token(self, core: Here, caller: Caller, token_id: TokenId, by: Author = "") -> TokenDocument:
        """End a token, for ever. A second time changes nothing."""
        _check_admin(core, caller, "revoke token")
        tokens = _tokens(core)
        reached = set(tokens.get(token_id).roles)
        require_all(core.gate, caller, reached, Role.ADMIN, action="revoke token")
        token = tokens.revoke(token_id, by=core.author(caller, by))
        core.gate.refresh()
        core.metrics.token("revoked")
        return TokenDocument(**token.to_dict())

    @answers("GET", "/audit", Rule(Role.ADMIN, "read audit", "handler"))
    def get_audit(
        self,
        core: Here,
        caller: Caller,
        project: Name = None,
        principal: Name = None,
        action: Name = None,
        since: Instant = None,
        until: Instant = None,
        denied: FromQuery[bool | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    ) -> list[EventDocument]:
        """What was done and denied, the newest first: in one project, or, for admins of every one, in all."""
        core.gate.require(caller, EVERY_PROJECT if project is None else project, Role.ADMIN, action="read audit")
        question = Question(
            project=project,
            principal=principal,
            action=action,
            since=_instant(since, "since"),
            until=_instant(until, "until"),
            denied=denied,
            limit=limit,
        )
        events = AuditLog(engine_of(core.workspace)).events(question)
        return [EventDocument(**event.to_dict()) for event in events]

    @answers("POST", "/audit", Rule(Role.ADMIN, "report audit", "every"), status=201)
    def add_audit(self, core: Here, caller: Caller, data: JSONBody[Report]) -> None:
        """Add what another service did or denied, under the name that it reports with."""
        events = [
            Event(**msgspec.structs.asdict(event) | {"via": caller.name, "last": max(event.at, event.last)})
            for event in data.events
        ]
        AuditLog(engine_of(core.workspace)).add(events)


def _tokens(core: Core) -> TokenStore:
    return TokenStore(engine_of(core.workspace))


def _governs(caller: Principal, roles: dict[str, Role]) -> bool:
    return all(caller.allows(project, Role.ADMIN) for project in roles)


def _check_admin(core: Core, caller: Principal, action: str) -> None:
    """Whoever is an admin of nothing learns nothing of tokens, not even which ids there are."""
    if not any(role is Role.ADMIN for role in caller.roles.values()):
        core.gate.require(caller, EVERY_PROJECT, Role.ADMIN, action=action)


def _instant(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    micros = clock.to_micros(text, field=field)
    if not 0 <= micros <= GREATEST:
        raise InvalidArgument(f"{field}: {text!r} is out of range.", field=field, hint="Name an instant after 1970.")
    return micros
