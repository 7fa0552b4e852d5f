"""``tiffin entities|feature-tables|feature-services list|describe|delete|history|diff``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, cast

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.client import Client
    from tiffin.definitions.definition import Definition
    from tiffin.registry.base import Revision
    from tiffin.registry.diff import Difference

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name.")]
_Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only those with this label; repeat for several."),
]


class Kind(NamedTuple):
    """One kind of definition: its words on the command line, and how the client is asked for it."""

    command: str
    kind: str
    summary: str
    example: str
    list: Callable[[Client, Mapping[str, str]], Sequence[Definition]]
    get: Callable[[Client, str, int | None], Definition]
    delete: Callable[[Client, str], object] | None


ENTITIES: Final = Kind(
    "entities",
    "Entity",
    "The keys by which features are looked up.",
    "driver_id",
    lambda client, labels: client.list_entities(labels=labels),
    lambda client, name, revision: client.get_entity(name, revision=revision),
    lambda client, name: client.delete_entity(name),
)
FEATURE_TABLES: Final = Kind(
    "feature-tables",
    "FeatureTable",
    "Features that share keys and a source.",
    "driver_statistics",
    lambda client, labels: client.list_feature_tables(labels=labels),
    lambda client, name, revision: client.get_feature_table(name, revision=revision),
    lambda client, name: client.delete_feature_table(name),
)
FEATURE_SERVICES: Final = Kind(
    "feature-services",
    "FeatureService",
    "The features that one model reads.",
    "trip_completion",
    lambda client, labels: client.list_feature_services(labels=labels),
    lambda client, name, revision: client.get_feature_service(name, revision=revision),
    lambda client, name: client.delete_feature_service(name),
)


def commands_of(kind: Kind) -> typer.Typer:
    """The group of commands of one kind."""
    app = group(kind.command, kind.summary)
    _add_readers(app, kind)
    _add_history(app, kind)
    if kind.delete is not None:
        _add_delete(app, kind, kind.delete)
    return app


def _add_readers(app: typer.Typer, kind: Kind) -> None:
    @command(app, "list", example=f"tiffin {kind.command} list\ntiffin {kind.command} list -l team=marketplace")
    def list_objects(session: Session, label: _Labels = None) -> None:
        """What is registered in the project."""
        found = kind.list(session.client, read_labels(label or []))
        session.answer([item.to_document() for item in found], lambda: _view().listing(found))

    @command(app, "describe", example=f"tiffin {kind.command} describe {kind.example}")
    def describe(
        session: Session,
        name: _Name,
        revision: Annotated[int | None, typer.Option(metavar="N", help="As it was at this revision.")] = None,
        as_yaml: Annotated[bool, typer.Option("--yaml", help="As YAML, which `tiffin apply -f` reads.")] = False,
    ) -> None:
        """All that is registered under a name."""
        found = kind.get(session.client, name, revision)
        session.answer(
            found.to_document(), lambda: [found.to_yaml().rstrip()] if as_yaml else _view().description(found)
        )


def _add_history(app: typer.Typer, kind: Kind) -> None:
    @command(app, "history", example=f"tiffin {kind.command} history {kind.example}")
    def history(session: Session, name: _Name) -> None:
        """Every revision: who changed it, when and how."""
        revisions = session.client.history(name, kind=kind.kind)
        session.answer([_revision_data(each) for each in revisions], lambda: _view().history(revisions))

    @command(app, "diff", example=f"tiffin {kind.command} diff {kind.example} 1 2")
    def diff(
        session: Session,
        name: _Name,
        before: Annotated[int, typer.Argument(metavar="A", help="The earlier revision.")],
        after: Annotated[int, typer.Argument(metavar="B", help="The later revision.")],
    ) -> None:
        """What changed between two revisions, and how grave each change is."""
        found = session.client.diff(name, before, after, kind=kind.kind)
        session.answer([output.plain(each) for each in found], lambda: _differences(found))


def _add_delete(app: typer.Typer, kind: Kind, delete_one: Callable[[Client, str], object]) -> None:
    @command(app, "delete", example=f"tiffin {kind.command} delete {kind.example}")
    def delete(session: Session, name: _Name) -> None:
        """Take it out of the registry; its history stays, and applying it again revives it.

        Rows in the stores are not touched.
        """
        delete_one(session.client, name)
        session.answer({"kind": kind.kind, "name": name, "deleted": True}, lambda: [f"Deleted {kind.kind} {name}."])


def read_labels(texts: Sequence[str]) -> dict[str, str]:
    """Labels of the form key=value."""
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{text!r} is not a label.", field="label", hint="Write key=value.")
        labels[key] = value
    return labels


def _revision_data(revision: Revision) -> dict[str, Any]:
    return {**cast("dict[str, Any]", output.plain(revision)), "at": clock.to_iso(revision.at)}


def _differences(found: Sequence[Difference]) -> list[RenderableType]:
    from tiffin.cli.plan_view import difference_line

    return [difference_line(each) for each in found] or ["Nothing differs."]


def _view() -> Any:
    """The module that draws definitions; Rich comes with it."""
    from tiffin.cli import objects_view

    return objects_view


entities = commands_of(ENTITIES)
feature_tables = commands_of(FEATURE_TABLES)
feature_services = commands_of(FEATURE_SERVICES)
