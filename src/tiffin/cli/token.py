"""``tiffin token create|list|revoke``."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.registry.desk import Desk

app = group("token", "Tokens with which callers show the services who they are.")

_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SECOND: Final = 1_000_000


@command(
    app,
    "create",
    example="tiffin token create admin --role '*=admin'\n"
    "tiffin token create ci --role rides=writer --role default=reader --expires 30d",
)
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will call with it; the audit log shows this name.")],
    role: Annotated[
        list[str],
        typer.Option("--role", "-r", metavar="PROJECT=ROLE", help="reader, writer or admin; * is every project."),
    ],
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="After a span such as 12h or 30d, or at an instant."),
    ] = None,
) -> None:
    """Make a token and print it, this once: only its hash is kept.

    With core_url the registry service makes it, for whoever is an admin of every project that it reaches. Otherwise it
    is made in the registry's database directly, which is how the first one comes to be.
    """
    from tiffin.registry.access import read_grants

    until = None if expires is None else instant(expires, field="expires", ahead=True)
    made = desk(session).create(name, read_grants(role), until)
    if session.as_json:
        output.write_json(made)
        return
    end = f", until {made['expires']}" if made["expires"] else ""
    output.note(f"Token {made['id']} of {name}: {_roles(made)}{end}. It is shown this once.")
    sys.stdout.write(f"{made['token']}\n")  # alone and never folded, so that scripts and people can take it


@command(app, "list", example="tiffin token list")
def list_tokens(session: Session) -> None:
    """Every token there ever was, without its secret, which is nowhere."""
    found = desk(session).tokens()
    session.answer(found, lambda: _listing(found))


@command(app, "revoke", example="tiffin token revoke 4f3c09ab12de")
def revoke(
    session: Session,
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `tiffin token list` shows it.")],
) -> None:
    """End a token, for ever. All services refuse it within two seconds."""
    from tiffin.registry.tokens import id_of

    done = desk(session).revoke(id_of(token) or token)
    session.answer(done, lambda: [f"Token {done['id']} of {done['name']} is revoked since {done['revoked']}."])


def desk(session: Session) -> Desk:
    """Where tokens and the audit log are: behind the registry service, or in the database."""
    from tiffin.registry.desk import CoreDesk, DatabaseDesk
    from tiffin.serving.access.sources import engine_of

    core = session.workspace.core
    return DatabaseDesk(engine_of(session.workspace)) if core is None else CoreDesk(core)


def instant(text: str, *, field: str, ahead: bool) -> int:
    """An instant in UTC microseconds: ISO 8601, or a span such as ``30d`` from now, ``ahead`` or back."""
    match = _SPAN.fullmatch(text.strip())
    if match is not None:
        span = int(match[1]) * _UNITS[match[2]] * _SECOND
        found = clock.now() + span if ahead else clock.now() - span
    else:
        found = clock.to_micros(text, field=field)
    try:
        clock.to_datetime(found)
    except OverflowError:
        raise InvalidArgument(f"{field}: {text!r} is too far away.", field=field, hint="Name a shorter span.") from None
    return found


def _roles(token: dict[str, Any]) -> str:
    return ", ".join(f"{role} of {'every project' if name == '*' else name}" for name, role in token["roles"].items())


def _listing(found: list[dict[str, Any]]) -> list[RenderableType]:
    from tiffin.cli.view import mark, table

    if not found:
        return ["No tokens."]
    rows = [
        (each["id"], each["name"], _roles(each), mark(each["state"]), each["expires"] or "", each["created_by"])
        for each in found
    ]
    return [table(["id", "name", "roles", "state", "expires", "created by"], rows)]
