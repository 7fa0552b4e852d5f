"""``tiffin config list|get|set``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli.session import Session, command, group
from tiffin.config import Config
from tiffin.options import option_named, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

app = group("config", "Options, and where each came from.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The option, in any case.")]


@command(app, "list", example="tiffin config list\ntiffin config list --all")
def list_options(
    session: Session, every: Annotated[bool, typer.Option("--all", help="Also those that have their default.")] = False
) -> None:
    """The options that were chosen, and where: argument, environment, file or default.

    Secrets are never shown.
    """
    config = Config(session.options)
    rows = [
        {"name": option.name, "value": value, "origin": origin, "description": option.description}
        for option, value, origin in config.items()
        if every or session.as_json or origin != "default"
    ]
    session.answer({"home": str(config.home), "options": rows}, lambda: _listing(config, rows, every))


@command(app, "get", example="tiffin config get project")
def get_option(session: Session, name: _Name) -> None:
    """The value of one option."""
    config = Config(session.options)
    option = option_named(name)
    value = shown(option, config.get(name))
    data = {"name": option.name, "value": value, "origin": config.origin(name), "description": option.description}
    session.answer(data, lambda: [value])


@command(app, "set", example="tiffin config set project rides", store=False)
def set_option(
    session: Session,
    name: _Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help='The value; "" returns to the default.')],
) -> None:
    """Keep an option in the user's configuration file, which a project's tiffin.toml and the environment override."""
    config = Config.of_user()
    config.set(name, value or None)
    path = config.save()
    session.answer({"name": option_named(name).name, "file": str(path)}, lambda: [f"Written to {path}."])


def _listing(config: Config, rows: list[dict[str, str]], every: bool) -> list[RenderableType]:
    from tiffin.cli.view import facts, table

    columns = ["name", "value", "origin", *(["description"] if every else [])]
    listed = table(columns, ([row[column] for column in columns] for row in rows))
    hint = [] if every else ["\nAll others have their default; --all lists them."]
    return [facts([("home", str(config.home))]), "", *([listed] if rows else []), *hint]
