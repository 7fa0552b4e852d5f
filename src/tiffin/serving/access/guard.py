"""Guard: the gate before every route of a Litestar application, which asks for what the route's rule says."""

from __future__ import annotations

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import BaseRouteHandler

from tiffin.errors import InvalidArgument, PermissionDenied
from tiffin.refs import DEFAULT_PROJECT
from tiffin.registry.access import Principal
from tiffin.serving.access.gate import Gate, authorization_of
from tiffin.serving.access.rules import OPEN, Rule, place

_KEY: Final = "rule"
#: Where the state of a request holds its caller.
PRINCIPAL: Final = "principal"

Connection = ASGIConnection[Any, Any, Any, Any]


def ruled(rule: Rule) -> dict[str, Any]:
    """The rule as a handler's ``opt``: ``@get(path, opt=ruled(Rule(Role.READER, "read")))``."""
    return {_KEY: rule}


def rule_of(handler: BaseRouteHandler) -> Rule | None:
    """The rule of a handler, its router or its application, None where there is none."""
    rule = handler.opt.get(_KEY)
    return rule if isinstance(rule, Rule) else None


def principal_of(connection: Connection) -> Principal:
    """Who makes a request that the guard let through."""
    principal = connection.scope["state"].get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise PermissionDenied("Nobody was admitted here.", hint="Give the route a rule.")
    return principal


class Guard:
    """Admits the caller and asks for the role, before the body is read. One stands at the application's door.

    A route without a rule, such as OPTIONS, which the framework answers by itself, is answered to nobody.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        rule = rule_of(handler)
        if rule is not None and rule.role is None:
            return
        principal = await self.gate.admit_async(authorization_of(connection.scope["headers"]))
        if rule is None:
            raise MethodNotAllowedException
        connection.scope["state"][PRINCIPAL] = principal
        if rule.scope != "handler" and rule.role is not None:
            project = place(
                rule,
                path=connection.path_params.get("project"),
                query=_only(connection, "project"),
                default=DEFAULT_PROJECT,
            )
            self.gate.require(principal, project, rule.role, action=rule.action)


def _only(connection: Connection, name: str) -> str | None:
    """The one value of a parameter; a guard and a handler could each take another of several."""
    values = connection.query_params.getall(name, [])
    if len(values) > 1:
        raise InvalidArgument(f"The parameter {name!r} is given {len(values)} times.", field=name, hint="Give it once.")
    return values[0] if values else None


__all__ = ["OPEN", "Guard", "principal_of", "rule_of", "ruled"]
