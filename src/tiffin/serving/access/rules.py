"""Rules: the role that each route asks for. A route without a rule answers nobody."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.gate import Gate

Scope = Literal["path", "query", "every", "handler"]


class Rule(NamedTuple):
    """What a route asks of its caller.

    ``role`` is None where everyone is answered, as for health. ``action`` is the word that denials are recorded under.
    ``scope`` says in which project the role is needed: the one in the path (``path``); the parameter ``project`` of
    the query, ``default`` where it is left out (``query``); every project (``every``); or the one that the body names,
    so that the handler itself calls :meth:`~tiffin.serving.access.gate.Gate.require` before it does anything
    (``handler``).
    """

    role: Role | None
    action: str
    scope: Scope = "path"


#: Everyone is answered: health, readiness, the schema of the interface.
OPEN: Final = Rule(None, "look")


def require_all(gate: Gate, principal: Principal, projects: set[str], role: Role, *, action: str) -> None:
    """Raise PermissionDenied unless the principal has the role in each of the projects.

    A request that reads tables of several projects needs the role in all of them, also those that a feature service
    reaches: otherwise whoever may write services in one project could read any other through them.
    """
    for project in sorted(projects):
        gate.require(principal, project, role, action=action)


def place(rule: Rule, *, path: str | None, query: str | None, default: str) -> str:
    """The project in which a rule's role is needed, from the request's path and query; ``*`` is every one."""
    if rule.scope == "path" and path:
        return path
    if rule.scope == "query":
        return query or default
    return EVERY_PROJECT
