"""Tokens: bearer tokens of the services, kept as hashes in the registry's database.

A token reads ``tiffin_<id>_<secret>``. The secret is 256 random bits, so a plain SHA-256 protects it: slow hashes guard
against guessing what people chose, and nobody guesses one of 2**256. The id finds the row without searching by secret.
Names are unique for ever, so that the audit log never means two callers by one name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from tiffin import clock
from tiffin.errors import AlreadyExists, InvalidArgument, NotFound
from tiffin.registry import tables
from tiffin.registry.access import Principal, Role, Roles, named, read_roles
from tiffin.registry.audit import Event, add_event
from tiffin.registry.database import reading, writing

#: How long an expired token is still told from an unknown one, in microseconds.
REMEMBERED: Final = 7 * 86_400 * 1_000_000
#: Letters that neither e-mail addresses nor subjects of issuers are told apart by: no ``@`` and no ``:``.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID: Final = re.compile(r"[0-9a-f]{1,12}")
#: Whom other principals are called by.
_TAKEN: Final = frozenset({"anonymous", "tiffin"})

_tokens = tables.tokens.c


class Token(msgspec.Struct, frozen=True):
    """What is known of a token, which its secret is not part of. Instants are UTC microseconds."""

    id: str
    name: str
    hash: str
    roles: dict[str, Role]
    created: int
    created_by: str
    expires: int | None = None
    revoked: int | None = None
    revoked_by: str | None = None

    @property
    def principal(self) -> Principal:
        """Who calls with it."""
        return Principal(self.name, self.roles)

    def fits(self, token: str) -> bool:
        """Whether a text is this token. Takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(self.hash, digest(token))

    def state(self, now: int) -> str:
        """``revoked``, ``expired`` or ``valid``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"

    def to_dict(self) -> dict[str, Any]:
        """The token for people and machines; neither secret nor hash."""
        return {
            "id": self.id,
            "name": self.name,
            "roles": named(self.roles),
            "state": self.state(clock.now()),
            "created": clock.to_iso(self.created),
            "created_by": self.created_by,
            "expires": _iso(self.expires),
            "revoked": _iso(self.revoked),
            "revoked_by": self.revoked_by,
        }


class Known(msgspec.Struct, frozen=True):
    """The tokens that may be used, at one version; ``tokens`` is None where they are as they were."""

    version: int
    tokens: tuple[Token, ...] | None


class TokenStore:
    """The tokens in the registry's database. ``by`` names who makes a change, which goes into the audit log with it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, name: str, roles: Roles, *, by: str, expires: int | None = None) -> tuple[Token, str]:
        """A new token: what is kept of it, and its text, which nobody can ask for again.

        ``expires`` is an instant in UTC microseconds. Raises AlreadyExists for a name that was ever used.
        """
        now = clock.now()
        check_token_name(name)
        if expires is not None and expires <= now:
            raise InvalidArgument(
                f"The token would have expired at {clock.to_iso(expires)}.", field="expires", hint="Name a later time."
            )
        text = f"tiffin_{secrets.token_hex(6)}_{secrets.token_hex(32)}"
        token = Token(id_of(text), name, digest(text), dict(roles), now, by, expires)
        with writing(self._engine) as connection:
            _count_change(connection)
            if connection.execute(sa.select(_tokens.id).where(_tokens.name == name)).first():
                raise AlreadyExists(
                    f"There is or was a token named {name!r}.", field="name", hint=f"Name it {name}-2, for example."
                )
            row = msgspec.structs.asdict(token) | {"roles": named(roles)}
            connection.execute(tables.tokens.insert().values(row))
            _log_change(connection, "create token", token, at=now, by=by)
        return token, text

    def revoke(self, token_id: str, *, by: str) -> Token:
        """End a token now, for ever; a second time changes nothing. NotFound for an unknown id."""
        now = clock.now()
        with writing(self._engine) as connection:
            _count_change(connection)
            row = connection.execute(sa.select(tables.tokens).where(_tokens.id == token_id)).first()
            if row is None:
                raise _unknown(token_id)
            token = _token(row)
            if token.revoked is not None:
                return token
            connection.execute(tables.tokens.update().where(_tokens.id == token_id).values(revoked=now, revoked_by=by))
            _log_change(connection, "revoke token", token, at=now, by=by)
        return msgspec.structs.replace(token, revoked=now, revoked_by=by)

    def get(self, token_id: str) -> Token:
        """One token; NotFound for an unknown id."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(tables.tokens).where(_tokens.id == token_id)).first()
        if row is None:
            raise _unknown(token_id)
        return _token(row)

    def tokens(self) -> list[Token]:
        """Every token there ever was, in the order of their making."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(tables.tokens).order_by(_tokens.created, _tokens.id)).all()
        return [_token(row) for row in rows]

    def known(self, since: int = -1) -> Known:
        """The tokens that are not revoked, those that expired long ago left out, if they changed after a version."""
        usable = sa.select(tables.tokens).where(
            _tokens.revoked.is_(None),
            _tokens.expires.is_(None) | (_tokens.expires > clock.now() - REMEMBERED),
        )
        with reading(self._engine) as connection:
            version = connection.execute(sa.select(tables.access_version.c.version)).scalar_one()
            if version == since:
                return Known(version, None)
            return Known(version, tuple(_token(row) for row in connection.execute(usable)))


def digest(token: str) -> str:
    """What is kept of a token's text."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(token: str) -> str:
    """The id inside a token's text; empty where the text is no token of Tiffin.

    >>> id_of("tiffin_4f3c_0123")
    '4f3c'
    """
    prefix, _, rest = token.partition("_")
    identity, _, secret = rest.partition("_")
    return identity if prefix == "tiffin" and secret else ""


def check_token_name(name: object) -> str:
    """The name itself, or an error that says which rule it breaks."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise InvalidArgument(
            f"{name!r} cannot name a token.",
            field="name",
            hint="Use up to 64 letters, digits, dots, dashes and underscores; anonymous and tiffin are taken.",
        )
    return name


def _count_change(connection: sa.Connection) -> None:
    """Changes follow one another: each takes the row of the counter first."""
    version = tables.access_version.c.version
    connection.execute(tables.access_version.update().values(version=version + 1))


def _log_change(connection: sa.Connection, action: str, token: Token, *, at: int, by: str) -> None:
    """One event in every project that the token reaches, so that the admins of each see it."""
    for project, role in named(token.roles).items():
        detail = f"{token.name} ({token.id}), {role}"
        add_event(connection, Event(at=at, principal=by, project=project, action=action, detail=detail))


def _token(row: sa.Row[Any]) -> Token:
    values = dict(row._mapping)  # noqa: SLF001  (the public way to a row's columns, despite its name)
    return Token(**values | {"roles": read_roles(values["roles"])})


def _unknown(token_id: str) -> NotFound:
    # What is no id may be a token, given by mistake: it is not repeated.
    named = f"the id {token_id!r}" if _ID.fullmatch(token_id) else "that id"
    return NotFound(f"There is no token with {named}.", field="id", hint="`tiffin token list` shows the ids.")


def _iso(micros: int | None) -> str | None:
    return None if micros is None else clock.to_iso(micros)
