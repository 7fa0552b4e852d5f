"""``tiffin compact``: the files of histories kept few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli import output
from tiffin.cli.progress import working
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.compaction import Compaction

app = group("", "")


@command(
    app,
    "compact",
    example="tiffin compact\ntiffin compact driver_statistics --vacuum\n"
    "tiffin compact driver_statistics --vacuum --retention 3600",
)
def compact(
    session: Session,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]", help="The feature tables; all of the project by default.")
    ] = None,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Also remove files that a history has no use of any more.")
    ] = False,
    retention: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Remove what was out of use for so long; by default 7 days."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Remove files even where a job that still runs may read them.")
    ] = False,
) -> None:
    """Merge the small files of histories.

    Rows, training sets and what was known at an instant stay as they are, and nothing has to be stopped for it. Writers
    merge files themselves once they are too many; this also merges what they leave.
    """
    if not vacuum and (retention is not None or force):
        raise InvalidArgument(
            "--retention and --force say what --vacuum removes.",
            field="vacuum",
            hint="Add --vacuum, or leave them out.",
        )
    with working("Compacting"):
        done = session.client.compact(tables or None, vacuum=vacuum, retention=retention, force=force)
    session.answer(output.plain(done), lambda: _compacted(done))


def _compacted(done: list[Compaction]) -> list[RenderableType]:
    from tiffin.cli.view import count, words

    if not done:
        return ["There are no feature tables."]
    lines: list[RenderableType] = []
    for each in done:
        if each.left:
            lines.append(words(("- ", "yellow"), f"{each.feature_table}: left as it is. {each.left}"))
            continue
        told = f"{count(each.merged, 'file')} became {each.written}" if each.merged else "nothing to merge"
        if each.vacuumed:
            told += f", {count(each.vacuumed, 'file')} removed ({each.freed / 1e6:.1f} MB)"
        if each.unstamped:
            told += f", {count(each.unstamped, 'file')} of other programs left as they are"
        lines.append(words(("✓ ", "green"), f"{each.feature_table}: {told}."))
    return lines
