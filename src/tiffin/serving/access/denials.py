"""Denials: how credentials are read from a request, and the words for those that do not suffice."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tiffin.errors import NotFound, PermissionDenied, TiffinError, Unauthenticated
from tiffin.registry.access import EVERY_PROJECT, Principal, Role

#: Credentials longer than this many characters are not looked at.
LONGEST_CREDENTIALS: Final = 8192

_WORDS: Final = {
    "missing": "The request carries no credentials.",
    "expired": "The credentials have expired.",
    "invalid": "The credentials are not valid.",
}
#: RFC 6750, section 2.1. The scheme is read in any case, as every scheme of HTTP is.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")


def authorization_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The one ``Authorization`` header of an ASGI request, None where it has none.

    Several, or one that is too long or not ASCII, raise Unauthenticated: proxies and services that each read another
    one would not agree on who calls.
    """
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    if len(found) > 1 or len(found[0]) > LONGEST_CREDENTIALS or not found[0].isascii():
        raise unauthenticated("invalid")
    return found[0].decode("ascii")


def bearer(authorization: str | None) -> str:
    """The token of an ``Authorization`` header; Unauthenticated where there is none, or something else."""
    if authorization is None:
        raise unauthenticated("missing")
    found = None
    if len(authorization) <= LONGEST_CREDENTIALS:
        found = _BEARER.fullmatch(authorization.strip(" \t"))
    if found is None:
        raise unauthenticated("invalid")
    return found[1]


def unauthenticated(what: str) -> Unauthenticated:
    """The error for credentials that are ``missing``, ``invalid`` or ``expired``. It says no more on purpose."""
    return Unauthenticated(
        _WORDS[what], field="authorization", hint="Send a token: the header `Authorization: Bearer TOKEN`."
    )


def challenge(error: Unauthenticated) -> str:
    """The value of the header ``WWW-Authenticate`` that goes with an answer of status 401 (RFC 6750, section 3)."""
    return "Bearer" if error.message == _WORDS["missing"] else 'Bearer error="invalid_token"'


def discreet(error: TiffinError, principal: Principal) -> TiffinError:
    """The error as a caller may hear it: the hint to an unknown project names others, for readers of every one."""
    if isinstance(error, NotFound) and error.field == "project" and not principal.allows(EVERY_PROJECT, Role.READER):
        return NotFound(error.message, field=error.field)
    return error


def denial(principal: Principal, project: str, role: Role, action: str) -> PermissionDenied:
    """The error for a principal that lacks a role."""
    mine = principal.role(project)
    place = "every project" if project == EVERY_PROJECT else f"project {project[:255]!r}"
    has = "no role" if mine is None else f"the role {mine.name.lower()}"
    return PermissionDenied(
        f"{action} needs the role {role.name.lower()} in {place}; {principal.name!r} has {has} there.",
        field="project",
        hint="Ask an admin for a token with that role.",
    )
