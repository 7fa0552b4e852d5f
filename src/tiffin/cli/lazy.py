"""Commands and groups with Tiffin's help page, and commands that are imported when they run, not when listed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from tiffin.cli import help as help_page


class Command(TyperCommand):
    """A command with Tiffin's help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page."""
        help_page.show(self, ctx)


class Group(TyperGroup):
    """A group with Tiffin's help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page."""
        help_page.show(self, ctx)


class Deferred(Command):
    """A command or group known by name and summary; ``target`` is the ``module:attribute`` of its Typer app.

    The app either is the group of this name, or holds the command of this name among others.
    """

    def __init__(self, name: str, target: str, summary: str, panel: str) -> None:
        super().__init__(name, help=summary, rich_help_panel=panel)
        self._target = target

    def load(self) -> Any:
        """The real command or group."""
        module, _, attribute = self._target.partition(":")
        app: typer.Typer = getattr(import_module(module), attribute)
        group = get_group(app)
        return group if group.name == self.name else group.commands[str(self.name)]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, whose ``command`` it names: from here on this object is out of the way."""
        return self.load().make_context(info_name, args, parent=parent, **extra)
