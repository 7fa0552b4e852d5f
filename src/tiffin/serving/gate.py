"""Gate: who stands before a service, and whether they may (semantics, section 9)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from tiffin.config import Config
from tiffin.errors import InvalidConfig, PermissionDenied, Unauthenticated
from tiffin.registry.access import EVERY_PROJECT, Principal, Role

if TYPE_CHECKING:
    from tiffin.workspace import Workspace

#: Credentials longer than this many characters are not looked at.
LONGEST_CREDENTIALS: Final = 8192
#: The ways in that the option ``auth`` may list.
WAYS: Final = frozenset({"tokens", "oidc"})


class Gate(Protocol):
    """Admits callers and holds them to their roles. Safe to use from several threads.

    :meth:`admit` and :meth:`require` work in memory and take microseconds: they may be called on an event loop.
    """

    def admit(self, authorization: str | None) -> Principal:
        """Who an ``Authorization`` header names, None where a request has none.

        Raises Unauthenticated, which says no more than that credentials are missing, invalid or expired, and
        Unavailable while the service does not yet know whom to admit.
        """
        ...

    async def admit_async(self, authorization: str | None) -> Principal:
        """As :meth:`admit`, but waits where an issuer must first be asked for a key that is new."""
        ...

    def require(self, principal: Principal, project: str, role: Role, *, action: str) -> None:
        """Raise PermissionDenied unless the principal has the role in the project; ``*`` asks for it in every one.

        A denial is recorded, without waiting. ``action`` is the word for what was tried, such as ``push``.
        """
        ...

    def record(self, principal: Principal, project: str, action: str, detail: str) -> None:
        """Put a change of data into the audit log, before it is made; ``detail`` names what changes, a table say.

        Blocks: call it in the thread that will make the change. Raises Unavailable while the log cannot be written,
        and then the change must not be made. Changes of definitions, projects and tokens need no record: they are one
        themselves.
        """
        ...

    def start(self) -> None:
        """Begin to follow changes of tokens and keys, and to write records."""
        ...

    def close(self) -> None:
        """Write what is recorded and stop."""
        ...


class OpenGate:
    """The gate of a service without access control: everyone is ``anonymous``, who may do everything."""

    def __init__(self) -> None:
        self._anyone = Principal("anonymous", {EVERY_PROJECT: Role.ADMIN})

    def admit(self, authorization: str | None) -> Principal:
        del authorization  # nobody is told apart
        return self._anyone

    async def admit_async(self, authorization: str | None) -> Principal:
        return self.admit(authorization)

    def require(self, principal: Principal, project: str, role: Role, *, action: str) -> None:
        if not principal.allows(project, role):
            raise denial(principal, project, role, action)

    def record(self, principal: Principal, project: str, action: str, detail: str) -> None:
        """Nothing is recorded: there is nobody to name."""

    def start(self) -> None:
        """Nothing is followed."""

    def close(self) -> None:
        """Nothing is held."""


def ways(config: Config) -> frozenset[str]:
    """The ways in that the option ``auth`` lists, none where access control is off."""
    listed = {word.strip().lower() for word in config.get("auth").split(",") if word.strip()}
    if listed <= {"none"}:
        return frozenset()
    if listed <= WAYS:
        return frozenset(listed)
    raise InvalidConfig(
        f"{config.get('auth')!r} is no way of access control.",
        field="auth",
        hint="Write none, tokens, oidc, or tokens,oidc.",
    )


def check_binding(config: Config, host: str) -> None:
    """Raise InvalidConfig where a service without access control would be reached from other machines.

    It may be with option ``allow_anonymous``. A name other than ``localhost`` counts as reachable.
    """
    if ways(config) or config.getboolean("allow_anonymous") or _is_loopback(host):
        return
    raise InvalidConfig(
        f"The service would listen on {host!r} and answer everyone who reaches it.",
        field="auth",
        hint="Set auth=tokens (see `tiffin token create`) or auth=oidc; or, where everyone may do everything, "
        "allow_anonymous=true.",
    )


def open_gate(config: Config, workspace: Workspace) -> Gate:
    """The gate that the options ask for; ``start`` it before its first use."""
    del workspace
    if not ways(config):
        return OpenGate()
    raise InvalidConfig("Access control is not available.", field="auth")


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


def unauthenticated(what: str) -> Unauthenticated:
    """The error for credentials that are ``missing``, ``invalid`` or ``expired``. It says no more on purpose."""
    words = {
        "missing": "The request carries no credentials.",
        "expired": "The credentials have expired.",
        "invalid": "The credentials are not valid.",
    }
    return Unauthenticated(
        words[what], field="authorization", hint="Send a token: the header `Authorization: Bearer TOKEN`."
    )


def challenge(error: Unauthenticated) -> str:
    """The value of the header ``WWW-Authenticate`` that goes with an answer of status 401 (RFC 6750, section 3)."""
    missing = error.message == unauthenticated("missing").message
    return "Bearer" if missing else 'Bearer error="invalid_token"'


def denial(principal: Principal, project: str, role: Role, action: str) -> PermissionDenied:
    """The error for a principal that lacks a role."""
    mine = principal.role(project)
    place = "every project" if project == EVERY_PROJECT else f"project {project!r}"
    has = "no role" if mine is None else f"the role {mine.name.lower()}"
    return PermissionDenied(
        f"{action} needs the role {role.name.lower()} in {place}; {principal.name!r} has {has} there.",
        field="project",
        hint="Ask an admin for a token with that role.",
    )


def _is_loopback(host: str) -> bool:
    if host.strip().lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[] ")).is_loopback
    except ValueError:
        return False
