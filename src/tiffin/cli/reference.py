"""The reference pages, made from the code: ``python -m tiffin.cli.reference --write|--check PAGE...``.

``cli.md`` comes from the commands themselves, ``reference.md`` from the public names of the package. ``--check`` fails
where a page is not what the code would write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import typer
from typer.main import get_command

from tiffin.cli import help as help_page
from tiffin.cli.lazy import Deferred
from tiffin.cli.main import COMMANDS, app
from tiffin.cli.python_reference import python_page

_MADE: Final = "<!-- Made by `make docs` from the code; edit the code instead. -->"
_SHARED: Final = {"--project", "--home", "--json", "--help"}

_HEAD: Final = f"""\
# The command line

{_MADE}

Every command answers `--help` with an example. Exit codes: 0 done, 1 failed, 2 misused, 130 interrupted.

These options are shared; commands that open no store take `--json` alone:

"""

_JSON: Final = """\
With `--json`, stdout holds one JSON document and nothing else; progress and logs go to stderr. Instants are RFC 3339
in UTC, bytes base64, and the numbers that JSON lacks are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`. A failure
writes `{"error": {"code", "message", "field", "hint"}}` to stderr.
"""


def cli_page() -> str:
    """The reference of the command line, in Markdown."""
    root: Any = get_command(app)
    context = typer.Context(root, info_name="tiffin")
    every = dict(_commands(root, context))
    shared = {name: each for child in every.values() for each in _options(child) for name in _SHARED & set(each.opts)}
    blocks = [_HEAD + _option_table([shared[name] for name in sorted(shared)]), _JSON, _contents()]
    for path, child in every.items():
        blocks.append(_section(path, child))
    return "\n".join(blocks)


def _commands(group: Any, context: Any) -> Iterator[tuple[str, Any]]:
    """Every command and group below a group, by its path, in the order of the help."""
    for name in group.commands:
        child = group.commands[name]
        real = child.load() if isinstance(child, Deferred) else child
        child_context = typer.Context(real, info_name=name, parent=context)
        yield child_context.command_path, real
        if hasattr(real, "commands"):
            yield from _commands(real, child_context)


def _contents() -> str:
    lines = ["## Commands", "", "| | command | what it does |", "|--|--|--|"]
    for panel, entries in COMMANDS.items():
        for number, (name, _, summary) in enumerate(entries):
            lines.append(f"| {'' if number else panel} | [`tiffin {name}`](#tiffin-{name}) | {summary} |")
    return "\n".join([*lines, ""])


def _section(path: str, command: Any) -> str:
    depth = "##" if path.count(" ") == 1 else "###"
    summary, _, rest = (command.help or "").partition("\n\n")
    lines = [f"{depth} {path}", "", " ".join(summary.split()), ""]
    lines += [paragraph + "\n" for paragraph in rest.split("\n\n") if paragraph.strip()]
    if hasattr(command, "commands"):
        return "\n".join(lines)
    lines += [
        "```console",
        *command.epilog.splitlines()[1:],
        "```",
        "",
        f"`{help_page.usage(command, typer.Context(command, info_name=path))}`",
        "",
    ]
    own = [each for each in _options(command) if not _SHARED & set(each.opts)]
    if rows := [*_parameters(command, "argument"), *own]:
        lines += [_option_table(rows)]
    return "\n".join(lines)


def _option_table(parameters: list[Any]) -> str:
    lines = ["| option | meaning |", "|--|--|"]
    for each in parameters:
        words = help_page.option_words(each).replace("|", "\\|")
        lines.append(f"| `{words}` | {' '.join(help_page.parameter_help(each).split())} |")
    return "\n".join([*lines, ""])


def _options(command: Any) -> list[Any]:
    return _parameters(command, "option")


def _parameters(command: Any, kind: str) -> list[Any]:
    return help_page.parameters(command, typer.Context(command), kind)


PAGES: Final[dict[str, Callable[[], str]]] = {"cli.md": cli_page, "reference.md": python_page}


def main() -> int:
    """Write or check the pages named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the pages")
    what.add_argument("--check", action="store_true", help="fail where a page is stale")
    parser.add_argument("pages", nargs="+", type=Path, help=f"files named {' or '.join(PAGES)}")
    options = parser.parse_args()
    stale = []
    for path in options.pages:
        if path.name not in PAGES:
            parser.error(f"{path.name} is not a page that is made from the code; those are {', '.join(PAGES)}")
        text = PAGES[path.name]()
        if options.write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: not what the code says; run `make docs`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
