"""The entry point: the list of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from types import TracebackType
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.main import get_command

from tiffin._version import __version__
from tiffin.cli import output
from tiffin.cli.lazy import Deferred, Group
from tiffin.errors import TiffinError, TiffinWarning

_FAILED: Final = 1
_INTERRUPTED: Final = 130

#: Name, app and summary of every command, by panel. A test holds the summaries against the commands' own.
COMMANDS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "Define": (
        ("init", "tiffin.cli.init:app", "Make a starter project: definitions, sample data and a README."),
        ("plan", "tiffin.cli.apply:app", "Show what apply would change, and how grave that is."),
        ("apply", "tiffin.cli.apply:app", "Register definitions, all or none."),
        ("entities", "tiffin.cli.objects:entities", "The keys by which features are looked up."),
        ("feature-tables", "tiffin.cli.objects:feature_tables", "Features that share keys and a source."),
        ("feature-services", "tiffin.cli.objects:feature_services", "The features that one model reads."),
        ("projects", "tiffin.cli.projects:app", "Namespaces of definitions and their rows."),
        ("search", "tiffin.cli.search:app", "Find features by name, label, owner or description."),
    ),
    "Fill": (
        ("ingest", "tiffin.cli.fill:app", "Append a file of rows to a table's history."),
        ("push", "tiffin.cli.fill:app", "Write a file of rows to the history and to the online store."),
        ("materialize", "tiffin.cli.fill:app", "Bring the online store up to date with the history."),
        ("stream", "tiffin.cli.stream:app", "Messages of a broker, into the history and the online store."),
    ),
    "Read": (
        ("get-historical-features", "tiffin.cli.read:app", "Build a training set, correct at every row's time."),
        ("get-online-features", "tiffin.cli.read:app", "Look up the latest values of keys."),
    ),
    "Serve": (
        ("up", "tiffin.cli.up:app", "Run the registry and the online service over the store of one home."),
        ("serve", "tiffin.cli.serve:app", "Run a service in the foreground."),
        ("pipeline", "tiffin.cli.pipeline:app", "From features to a model that is served, step by step."),
    ),
    "Operate": (
        ("jobs", "tiffin.cli.jobs:app", "Work that ran or is running."),
        ("job", "tiffin.cli.job:app", "One job, from its description."),
        ("verify", "tiffin.cli.verify:app", "Compare the online store with the history."),
        ("repair", "tiffin.cli.repair:app", "Finish what crashes have cut off."),
        ("erase", "tiffin.cli.erase:app", "Remove keys of an entity from all stores, and keep them from coming back."),
        ("compact", "tiffin.cli.compact:app", "Merge the small files of histories."),
        ("registry", "tiffin.cli.registry:app", "Schema, backup and history of the registry."),
        ("token", "tiffin.cli.token:app", "Tokens with which callers show the services who they are."),
        ("audit", "tiffin.cli.audit:app", "Who changed what, and who was denied."),
        ("config", "tiffin.cli.config:app", "Options, and where each came from."),
        (
            "version",
            "tiffin.cli.version:app",
            "Versions of Tiffin, of what it stands on, and of the services that the options name.",
        ),
    ),
}


class Root(Group):
    """The root of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for panel, entries in COMMANDS.items():
            for name, target, summary in entries:
                self.add_command(Deferred(name, target, summary, panel))

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run a command and exit: 0 done, 1 failed, 2 misused, 130 interrupted."""
        arguments = list(sys.argv[1:] if args is None else args)
        sys.exit(self._exit_code(arguments))

    def _exit_code(self, arguments: list[str]) -> int:
        as_json = "--json" in arguments
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]  # the rest of its arguments are not shown
                code = super().main(arguments, prog_name="tiffin", standalone_mode=False)
                sys.stdout.flush()
        except TiffinError as error:
            output.report(error, as_json=as_json)
            return _FAILED
        except typer.TyperException as error:
            _report_misuse(error, as_json=as_json)
            return error.exit_code
        except (KeyboardInterrupt, typer.Abort):
            return _INTERRUPTED
        except BrokenPipeError:
            _silence_stdout()
            return _FAILED
        return code if isinstance(code, int) else 0


def _report_misuse(error: typer.TyperException, *, as_json: bool) -> None:
    """Words for a call that Typer refused. A group called without a command has printed its help by now."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if not message:
        return
    hint = f"See '{context.command_path} --help'." if context is not None else None
    data = {"code": "usage", "message": message, "field": None, "hint": hint}
    output.fail(message, hint=hint, as_json=as_json, data=data)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """One line on stderr. Python shows warnings with a line of code, which says nothing to whoever types commands."""
    output.note(f"warning: {message}" if issubclass(category, TiffinWarning) else f"{category.__name__}: {message}")


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is not an error of Tiffin's tree is a mistake of Tiffin's: all there is to know of it, and whose it is."""
    sys.__excepthook__(kind, error, trace)
    output.note("This is a fault of Tiffin, not of the command: please report it with the lines above.")


def _silence_stdout() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="tiffin",
    cls=Root,
    help="Tiffin, a feature store: define features once, train on their past, serve their present.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options that come before the command."""


def run() -> NoReturn:
    """The entry point ``tiffin``."""
    sys.excepthook = _show_fault
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a screen that knows no ✓ is no reason to fail
    try:
        get_command(app).main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(_FAILED)  # main always exits
