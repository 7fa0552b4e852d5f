"""``tiffin projects list|create|archive``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli.session import Session, command, group

app = group("projects", "Namespaces of definitions and their rows.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The project.")]


@command(app, "list", example="tiffin projects list")
def list_projects(session: Session) -> None:
    """The projects that are not archived; the current one is marked."""
    names = list(session.client.list_projects())
    current = session.client.project
    session.answer(
        [{"name": name, "current": name == current} for name in names],
        lambda: [f"{'*' if name == current else ' '} {name}" for name in names],
    )


@command(app, "create", example="tiffin projects create rides")
def create_project(session: Session, name: _Name) -> None:
    """Create a project. Applying to a project that is not there creates it too."""
    session.client.create_project(name)
    session.answer({"name": name, "created": True}, lambda: [f"Created project {name}."])


@command(app, "archive", example="tiffin projects archive rides")
def archive_project(session: Session, name: _Name) -> None:
    """Make a project read-only and hide it from lists. There is no way back; reads go on."""
    session.client.archive_project(name)
    session.answer({"name": name, "archived": True}, lambda: [f"Archived project {name}."])
