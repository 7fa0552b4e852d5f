"""Gate: who stands before a service, and whether they may (semantics, section 9)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tiffin.config import Config
from tiffin.errors import InvalidConfig
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.denials import authorization_of, challenge, denial

if TYPE_CHECKING:
    from tiffin.workspace import Workspace

#: The ways in that the option ``auth`` may list.
WAYS: Final = frozenset({"tokens", "oidc"})


class GateCounts(NamedTuple):
    """Denials that were too many to be recorded, and seconds since what is known of tokens was confirmed, if any is."""

    dropped: int
    age: float | None


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

    def refresh(self) -> None:
        """Look at tokens now, since one was just changed here. Blocks; what cannot be seen now is seen later."""
        ...

    def counts(self) -> GateCounts:
        """What metrics tell of the gate."""
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

    def refresh(self) -> None:
        """Nothing is known."""

    def counts(self) -> GateCounts:
        return GateCounts(0, None)

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
    """The gate that the options ask for; ``start`` it, in a thread, before its first use.

    Tokens come from the registry service where ``core_url`` names one, and else from the registry's database. What is
    known of them is kept in ``home/access``, so that the service starts while the registry is away.
    """
    asked = ways(config)
    if not asked:
        return OpenGate()
    from tiffin.serving.access.guarded import open_guarded_gate

    return open_guarded_gate(config, workspace, asked)


def _is_loopback(host: str) -> bool:
    if host.strip().lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[] ")).is_loopback
    except ValueError:
        return False


__all__ = ["Gate", "GateCounts", "OpenGate", "authorization_of", "challenge", "check_binding", "open_gate", "ways"]
