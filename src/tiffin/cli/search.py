"""``tiffin search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli import output
from tiffin.cli.session import Session, command, group

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.registry.search import FeatureInfo

app = group("", "")


@command(app, "search", example="tiffin search rating\ntiffin search marketplace --json")
def search(
    session: Session, text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in any case.")]
) -> None:
    """Find features by name, label, owner or description.

    All words must match; the best matches come first. Without --project, all active projects are searched.
    """
    found = session.client.search(text, project=session.project)
    session.answer([{"ref": str(each.ref), **output.plain(each)} for each in found], lambda: _listing(found))


def _listing(found: list[FeatureInfo]) -> list[RenderableType]:
    from tiffin.cli.view import table, words

    if not found:
        return ["Nothing found."]
    several = len({each.project for each in found}) > 1
    rows = [
        (
            words((f"{each.project}/" if several else "", "dim"), f"{each.feature_table}:", (each.name, "bold")),
            each.dtype.name,
            ", ".join(each.entities),
            each.description,
        )
        for each in found
    ]
    return [table(["feature", "type", "entities", "description"], rows)]
