"""What every command shares: the options --project, --home and --json, the client they open, and how it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tiffin.cli import output
from tiffin.cli.lazy import Command, Group

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.client import Client
    from tiffin.config import Config
    from tiffin.registry.base import RegistryStore
    from tiffin.registry.registry import Registry
    from tiffin.registry.remote import RemoteRegistry
    from tiffin.workspace import Workspace

_Project = Annotated[
    str | None, typer.Option("--project", "-p", metavar="NAME", help="The project; else the configured one.")
]
_Home = Annotated[
    str | None, typer.Option("--home", metavar="DIR", help="The store's folder; else .tiffin, looked for upward.")
]
_Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]

_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_STORE_OPTIONS: Final = (
    inspect.Parameter("project", _KEYWORD, default=None, annotation=_Project),
    inspect.Parameter("home", _KEYWORD, default=None, annotation=_Home),
)
_JSON_OPTION: Final = inspect.Parameter("as_json", _KEYWORD, default=False, annotation=_Json)


class Session:
    """One run of one command."""

    def __init__(self, *, project: str | None = None, home: str | None = None, as_json: bool = False) -> None:
        self.project = project
        self.home = home
        self.as_json = as_json

    @property
    def options(self) -> dict[str, str]:
        """The options that the command line was given, as the client takes them."""
        given = {"project": self.project, "home": self.home}
        return {name: value for name, value in given.items() if value is not None}

    @cached_property
    def config(self) -> Config:
        """The options, of the command line and of everywhere else."""
        from tiffin.config import Config

        return Config(self.options)

    @cached_property
    def client(self) -> Client:
        """The client, opened at its first use."""
        from tiffin.client import Client

        return Client(self.options)

    @cached_property
    def workspace(self) -> Workspace:
        """The parts of the store, for commands that go below the client."""
        from tiffin.workspace import Workspace, check_servers

        check_servers(self.config)
        return Workspace(self.config)

    @property
    def registry(self) -> Registry | RemoteRegistry:
        """The registry of all projects; ``place`` is the one that is meant."""
        return self.workspace.registry

    @property
    def registry_store(self) -> RegistryStore:
        """What keeps the registry; FailedPrecondition where that is known to a service alone."""
        from tiffin.errors import FailedPrecondition
        from tiffin.registry.registry import Registry

        registry = self.registry
        if isinstance(registry, Registry):
            return registry.store
        raise FailedPrecondition(
            "The registry is a service (option core_url), whose database is not reached from here.",
            field="core_url",
            hint="Run the command where the service runs, with its option registry.",
        )

    @property
    def place(self) -> str:
        """The project that was given, else the configured one."""
        return self.workspace.config.get("project")

    def answer(self, data: object, view: Callable[[], Sequence[RenderableType]]) -> None:
        """Answer once: ``data`` for machines, or what ``view`` makes of it for people."""
        if self.as_json:
            output.write_json(data)
        else:
            output.show(*view())

    def close(self) -> None:
        """Release what was opened."""
        for part in ("client", "workspace"):
            if part in self.__dict__:
                self.__dict__[part].close()


def command(
    app: typer.Typer, name: str, *, example: str, store: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register ``function(session, ...)`` as a command with the shared options; ``store=False`` leaves only --json.

    The help is the function's docstring, followed by ``example``, one command a line.
    """
    shared = (*(_STORE_OPTIONS if store else ()), _JSON_OPTION)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            session = Session(**{option.name: given.pop(option.name) for option in shared})
            try:
                function(session, **given)
            finally:
                session.close()

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [*own, *shared]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__name__ = function.__name__
        lines = "\n".join(f"$ {line}" for line in example.splitlines())
        app.command(name, cls=Command, help=inspect.getdoc(function), epilog=f"Example:\n{lines}")(run)
        return function

    return register


def group(name: str, summary: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(
        name=name, cls=Group, help=summary, no_args_is_help=True, rich_markup_mode=None, add_completion=False
    )
