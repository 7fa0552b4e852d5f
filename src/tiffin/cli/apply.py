"""``tiffin plan`` and ``tiffin apply``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli.session import Session, command, group
from tiffin.definitions.collect import collect
from tiffin.errors import NotFound

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.definitions.definition import Definition
    from tiffin.registry.plan import Plan

app = group("", "")

_Paths = Annotated[
    list[str] | None,
    typer.Option(
        "--file", "-f", metavar="PATH", help="Python module, YAML file or folder of them; else the current folder."
    ),
]


@command(app, "plan", example="tiffin plan\ntiffin plan -f features.py -f services.yaml")
def plan(session: Session, file: _Paths = None) -> None:
    """Show what apply would change, and how grave that is.

    Compatible changes are safe for who reads the features; breaking ones remove or retype what is read, destructive
    ones delete. Nothing is changed.
    """
    found = session.client.plan(_definitions(file))
    session.answer(found.to_dict(), lambda: _view(found, applied=False))


@command(app, "apply", example="tiffin apply\ntiffin apply -f features.py --allow-breaking")
def apply(
    session: Session,
    file: _Paths = None,
    allow_breaking: Annotated[
        bool, typer.Option("--allow-breaking", help="Also make breaking and destructive changes.")
    ] = False,
) -> None:
    """Register definitions, all or none.

    Applying what is registered already changes nothing.
    """
    done = session.client.apply(_definitions(file), allow_breaking=allow_breaking)
    session.answer(done.to_dict(), lambda: _view(done, applied=True))


def _definitions(paths: list[str] | None) -> list[Definition]:
    given = paths or ["."]
    found = collect(given)
    if not found:
        raise NotFound(
            f"There are no definitions in {', '.join(map(repr, given))}.",
            field="file",
            hint="Name a Python or YAML file with -f, or start with: tiffin init DIR",
        )
    return found


def _view(found: Plan, *, applied: bool) -> list[RenderableType]:
    from tiffin.cli.plan_view import plan_view

    return plan_view(found, applied=applied)
