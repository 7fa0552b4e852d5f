"""What the command lines of all steps share: options read from arguments, and errors told without a traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tiffin.errors import InvalidArgument, TiffinError


class Parser(argparse.ArgumentParser):
    """A step's arguments. What is wrong with them is an error like any other: exit code 2 and no work done."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}\n")

    def add_client_options(self) -> None:
        """Options of the client, besides those that stand in its own settings and environment."""
        self.add_argument("--project", default="", help="the project of the features (default: the client's)")
        self.add_argument("--core-url", default="", help="HOST:PORT of the registry service, if there is one")
        self.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an option of the client, such as core_url=HOST:PORT; may be repeated",
        )


def client_options(given: argparse.Namespace) -> dict[str, str]:
    """The options that arguments name."""
    options = {name: getattr(given, name) for name in ("project", "core_url") if getattr(given, name)}
    for text in given.option:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"--option {text!r} is not NAME=VALUE.", field="option", hint="Write home=FOLDER.")
        options[name] = value
    return options


def run(step: Callable[..., Any], parser: Parser, arguments: Sequence[str] | None, **named: Any) -> int:
    """Run a step with what its arguments say; 0, or 1 where it raised one of our errors, which is told."""
    try:
        step(parser.parse_args(arguments), **named)
    except TiffinError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


def say(line: str) -> None:
    """One line of a step's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
