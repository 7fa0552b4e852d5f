"""``tiffin entities|feature-tables|feature-services list|describe|delete|history|diff``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, cast

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.session import Session, command, group
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.registry.base import Revision
    from tiffin.registry.diff import Difference

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name.")]
_Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only those with this label; repeat for several."),
]


class Kind(NamedTuple):
    """One kind of definition, and its words on the command line."""

    command: str
    kind: type[Definition]
    summary: str
    example: str

    @property
    def name(self) -> str:
        """The name of the kind, as documents have it."""
        return self.kind.__name__


ENTITIES: Final = Kind("entities", Entity, "The keys by which features are looked up.", "driver_id")
FEATURE_TABLES: Final = Kind(
    "feature-tables", FeatureTable, "Features that share keys and a source.", "driver_statistics"
)
FEATURE_SERVICES: Final = Kind(
    "feature-services", FeatureService, "The features that one model reads.", "trip_completion"
)


def commands_of(kind: Kind) -> typer.Typer:
    """The group of commands of one kind."""
    app = group(kind.command, kind.summary)
    _add_readers(app, kind)
    _add_history(app, kind)
    _add_delete(app, kind)
    return app


def _add_readers(app: typer.Typer, kind: Kind) -> None:
    @command(app, "list", example=f"tiffin {kind.command} list\ntiffin {kind.command} list -l team=marketplace")
    def list_objects(session: Session, label: _Labels = None) -> None:
        """What is registered in the project."""
        found = session.registry.objects(kind.kind, session.place, labels=read_labels(label or []))
        session.answer([item.to_document() for item in found], lambda: _view().listing(found))

    @command(app, "describe", example=f"tiffin {kind.command} describe {kind.example}")
    def describe(
        session: Session,
        name: _Name,
        revision: Annotated[int | None, typer.Option(metavar="N", help="As it was at this revision.")] = None,
        as_yaml: Annotated[bool, typer.Option("--yaml", help="As YAML, which `tiffin apply -f` reads.")] = False,
    ) -> None:
        """All that is registered under a name."""
        found = session.registry.get(kind.kind, name, session.place, revision=revision)
        session.answer(
            found.to_document(), lambda: [found.to_yaml().rstrip()] if as_yaml else _view().description(found)
        )


def _add_history(app: typer.Typer, kind: Kind) -> None:
    @command(app, "history", example=f"tiffin {kind.command} history {kind.example}")
    def history(session: Session, name: _Name) -> None:
        """Every revision: who changed it, when and how."""
        revisions = session.registry.history(name, session.place, kind=kind.kind)
        session.answer([_revision_data(each) for each in revisions], lambda: _view().history(revisions))

    @command(app, "diff", example=f"tiffin {kind.command} diff {kind.example} 1 2")
    def diff(
        session: Session,
        name: _Name,
        before: Annotated[int, typer.Argument(metavar="A", help="The earlier revision.")],
        after: Annotated[int, typer.Argument(metavar="B", help="The later revision.")],
    ) -> None:
        """What changed between two revisions, and how grave each change is."""
        found = session.registry.diff(name, before, after, session.place, kind=kind.kind)
        session.answer([output.plain(each) for each in found], lambda: _differences(found))


def _add_delete(app: typer.Typer, kind: Kind) -> None:
    @command(app, "delete", example=f"tiffin {kind.command} delete {kind.example}")
    def delete(
        session: Session,
        name: _Name,
        allow_breaking: Annotated[
            bool, typer.Option("--allow-breaking", help="Also where a feature service reads it.")
        ] = False,
    ) -> None:
        """Take it out of the registry; its history stays, and applying it again revives it.

        Rows in the stores are not touched.
        """
        done = session.registry.delete(kind.kind, name, session.place, allow_breaking=allow_breaking)
        words = "was deleted before" if done.is_empty else "deleted"
        session.answer(done.to_dict(), lambda: [f"{kind.name} {name} {words}."])


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
