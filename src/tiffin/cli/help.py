"""What ``--help`` prints. Rich takes longer to import than all of this takes to run, so it is not asked."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

import typer

_WIDTH: Final = 100
_LEFT: Final = 32

Rows = list[tuple[str, str]]


def render(command: Any, context: Any) -> str:
    """The help of a command or group, in colour; ``typer.echo`` takes the colours out where they cannot be shown."""
    summary, _, rest = (command.help or "").partition("\n\n")
    blocks = [typer.style(_fold(summary), bold=True), *(_fold(paragraph) for paragraph in _paragraphs(rest))]
    blocks.append(f"{_title('Usage')} {usage(command, context)}")
    sections = list(_sections(command, context))
    left = min(max(len(name) for _, rows in sections for name, _ in rows), _LEFT) + 2
    for title, rows in sections:
        blocks.append("\n".join([_title(title), *_table(rows, left)]))
    if command.epilog:
        title, _, lines = command.epilog.partition("\n")
        blocks.append("\n".join([_title(title.rstrip(":")), *(f"  {line}" for line in lines.splitlines())]))
    return "\n\n".join(blocks)


def usage(command: Any, context: Any) -> str:
    """How a command is called: ``tiffin ingest [OPTIONS] TABLE SOURCE``."""
    rest = ["COMMAND"] if hasattr(command, "commands") else map(option_words, parameters(command, context, "argument"))
    return " ".join([context.command_path, "[OPTIONS]", *rest])


def show(command: Any, context: Any) -> None:
    """Print the help on stdout."""
    typer.echo(render(command, context), color=False if os.environ.get("NO_COLOR") else None)


def option_words(parameter: Any) -> str:
    """An option or argument as it is typed: ``-p, --project NAME``."""
    value = parameter.metavar or parameter.name.upper()
    many = "…" if parameter.nargs == -1 or getattr(parameter, "multiple", False) else ""
    if parameter.param_type_name == "argument":
        return f"{value}{many}"
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {value}{many}"


def parameter_help(parameter: Any) -> str:
    """What an option or argument means, with its default, or that it must be given."""
    default = parameter.default
    if parameter.required and parameter.param_type_name == "option":
        return f"{parameter.help} [required]"
    shown = default not in (None, False, (), []) and parameter.show_default and not callable(default)
    return f"{parameter.help or ''}{f' [default: {default}]' if shown else ''}"


def parameters(command: Any, context: Any, kind: str) -> list[Any]:
    """The visible parameters of one kind, "argument" or "option"."""
    every = command.get_params(context)
    return [each for each in every if each.param_type_name == kind and not getattr(each, "hidden", False)]


def _sections(command: Any, context: Any) -> Iterator[tuple[str, Rows]]:
    panels: dict[str, Rows] = {}
    for name in getattr(command, "commands", ()):
        child = command.get_command(context, name)
        panels.setdefault(child.rich_help_panel or "Commands", []).append((name, child.help.partition("\n\n")[0]))
    yield from panels.items()
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        rows = [(option_words(each), parameter_help(each)) for each in parameters(command, context, kind)]
        if rows:
            yield title, rows


def _table(rows: Rows, left: int) -> Iterator[str]:
    for name, meaning in rows:
        head, *more = textwrap.wrap(" ".join(meaning.split()), _columns() - left - 2) or [""]
        if len(name) > _LEFT:
            yield f"  {typer.style(name, fg='cyan')}"
            more.insert(0, head)
        else:
            yield f"  {typer.style(name, fg='cyan')}{' ' * (left - len(name))}{head}"
        yield from (f"{' ' * (left + 2)}{line}" for line in more)


def _paragraphs(text: str) -> Iterable[str]:
    return (paragraph for paragraph in text.split("\n\n") if paragraph.strip())


def _fold(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _columns())


def _title(text: str) -> str:
    return typer.style(f"{text}:", fg="green", bold=True)


def _columns() -> int:
    return min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
