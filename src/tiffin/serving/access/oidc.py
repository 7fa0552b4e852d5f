"""Oidc: JSON web tokens of an issuer (RFC 7519, OpenID Connect), as principals with roles.

A token must be signed by a key of the issuer with an algorithm that is allowed and that its key serves; name the issuer
and the audience; and be in force. Its header chooses among the issuer's keys and nothing else: keys and places that it
names itself (``jwk``, ``jku``, ``x5u``) are not looked at.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tiffin.config import Config
from tiffin.errors import InvalidArgument, InvalidConfig, Unavailable
from tiffin.registry.access import Principal, Role, check_scope, read_role, read_roles
from tiffin.serving.access.denials import unauthenticated
from tiffin.serving.access.kept import KeptFile
from tiffin.serving.access.keys import ALGORITHMS, KeySet, jose

#: Verified tokens that are remembered.
_MOST: Final = 4096
_LONGEST_NAME: Final = 200


class Terms(NamedTuple):
    """What a token must say. ``leeway`` is in seconds; ``groups`` gives roles by group."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: float
    name_claim: str
    roles_claim: str
    groups_claim: str
    groups: Mapping[str, Mapping[str, Role]]


class _Verified(NamedTuple):
    principal: Principal
    expires: float
    keys: int


class WebTokens:
    """Finds the principal of a web token: verified once, then remembered while it and its key are good."""

    def __init__(self, terms: Terms, keys: KeySet) -> None:
        self._terms = terms
        self.keys = keys
        self._verified: dict[bytes, _Verified] = {}

    def find(self, text: str) -> tuple[Principal, str]:
        """Who calls with a token, and what is wrong with it: nothing (an empty text) or ``expired``.

        Raises Unauthenticated for a token that is not valid, and Unavailable while no keys are known. Where a token
        names an unknown key, the issuer is asked for new ones, and :attr:`keys` says when it has answered.
        """
        digest = hashlib.sha256(text.encode()).digest()
        found = self._verified.get(digest)
        if found is None or found.keys != self.keys.version:
            found = self._verify(text)
            self._remember(digest, found)
        return found.principal, "" if time.time() < found.expires + self._terms.leeway else "expired"

    def _verify(self, text: str) -> _Verified:
        jwt = jose()
        if not self.keys.is_known:
            raise Unavailable(
                "The service does not know the issuer's keys yet: it has not answered since the service started.",
                hint="Try again later.",
            )
        version = self.keys.version
        algorithm, kid = self._header(text)
        key = self.keys.find(kid, algorithm)
        if key is None:
            self.keys.ask()
            raise unauthenticated("invalid")
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._terms.audience,
                issuer=self._terms.issuer,
                leeway=self._terms.leeway,
                options={"require": ["exp", "iss", "aud"], "verify_exp": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise unauthenticated("invalid") from None
        expires = claims["exp"]
        if type(expires) not in {int, float} or not math.isfinite(expires):
            raise unauthenticated("invalid")
        return _Verified(self._principal(claims), expires, version)

    def _header(self, text: str) -> tuple[str, str | None]:
        """Algorithm and key name of a token whose header asks for nothing that is not understood."""
        jwt = jose()
        try:
            header = jwt.get_unverified_header(text)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise unauthenticated("invalid") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._terms.algorithms or "crit" in header or "b64" in header:
            raise unauthenticated("invalid")
        if kid is not None and not isinstance(kid, str):
            raise unauthenticated("invalid")
        return str(algorithm), kid

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name = claims.get(self._terms.name_claim)
        if not isinstance(name, str) or not name or not name.isprintable():
            raise unauthenticated("invalid")
        roles: dict[str, Role] = {}
        groups = claims.get(self._terms.groups_claim)
        for group in groups if isinstance(groups, list) else []:
            if isinstance(group, str):
                _add(roles, self._terms.groups.get(group, {}))
        _add(roles, _readable(claims.get(self._terms.roles_claim)))
        return Principal(f"oidc:{name[:_LONGEST_NAME]}", roles)

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        while len(self._verified) >= _MOST:
            self._verified.pop(next(iter(self._verified), b""), None)
        self._verified[digest] = verified


def open_web_tokens(config: Config, kept: KeptFile | None) -> WebTokens:
    """What the options ``oidc_*`` ask for; InvalidConfig names the first that is missing or cannot be used."""
    jose()
    issuer, audience = _needed(config, "oidc_issuer"), _needed(config, "oidc_audience")
    algorithms = tuple(word.strip() for word in config.get("oidc_algorithms").split(",") if word.strip())
    if not algorithms or not ALGORITHMS.issuperset(algorithms):
        raise InvalidConfig(
            f"oidc_algorithms is {config.get('oidc_algorithms')!r}.",
            field="oidc_algorithms",
            hint=f"Choose among {', '.join(sorted(ALGORITHMS))}.",
        )
    terms = Terms(
        issuer=issuer,
        audience=audience,
        algorithms=algorithms,
        leeway=config.getfloat("oidc_leeway"),
        name_claim=_needed(config, "oidc_name_claim"),
        roles_claim=config.get("oidc_roles_claim"),
        groups_claim=config.get("oidc_groups_claim"),
        groups=_read_groups(config.get("oidc_group_roles")),
    )
    return WebTokens(terms, KeySet(issuer, config.get("oidc_jwks"), kept))


def _read_groups(text: str) -> dict[str, dict[str, Role]]:
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text, type=dict[str, dict[str, str]])
        return {group: read_roles(roles) for group, roles in found.items()}
    except (msgspec.MsgspecError, InvalidArgument) as error:
        raise InvalidConfig(
            f"oidc_group_roles cannot be read: {error}",
            field="oidc_group_roles",
            hint='Write {"group": {"project": "reader"}}.',
        ) from None


def _readable(claim: object) -> dict[str, Role]:
    """The roles of a claim. What is no role, or in no project, gives none."""
    roles: dict[str, Role] = {}
    for project, role in claim.items() if isinstance(claim, dict) else ():
        try:
            roles[check_scope(project)] = read_role(role)
        except InvalidArgument:
            continue
    return roles


def _add(roles: dict[str, Role], more: Mapping[str, Role]) -> None:
    """Of two roles in a project the greater one counts."""
    for project, role in more.items():
        roles[project] = max(role, roles.get(project, role))


def _needed(config: Config, option: str) -> str:
    value = config.get(option)
    if not value:
        raise InvalidConfig(f"auth is {config.get('auth')!r}, but {option} is not set.", field=option, hint="Set it.")
    return value
