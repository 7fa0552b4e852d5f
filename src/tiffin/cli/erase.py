"""``tiffin erase``: keys that leave all stores, and the record of those that did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.progress import working
from tiffin.cli.session import Session, command, group
from tiffin.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.ingest.erase import ErasureReport

app = group("", "")


@command(
    app,
    "erase",
    example="tiffin erase --entity driver_id=1001 --dry-run\n"
    "tiffin erase --entity driver_id=1001 --entity driver_id=1002 --yes\ntiffin erase --list",
)
def erase(
    session: Session,
    entity: Annotated[
        list[str] | None, typer.Option("--entity", "-e", metavar="NAME=KEY", help="A key to erase; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the rows.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Show the erasures there were.")] = False,
) -> None:
    """Remove keys of an entity from all stores, and keep them from coming back.

    Rows go from histories, from the online store, from dead letters and from what Tiffin keeps in its home, in every
    table that has the entity, alone or with others. Its report says what was removed and where rows may be that it
    cannot reach. Where a place is away the exit code is 1, and the same command takes the work up again.
    """
    if listing:
        found = session.client.list_erasures(session.project)
        session.answer(found, lambda: _listed(found))
        return
    keys = _keys(entity or [])
    if not dry_run and not yes:
        _confirm(keys)
    with working("Counting" if dry_run else "Erasing"):
        reports = [
            session.client.erase(name, values, session.project, dry_run=dry_run) for name, values in keys.items()
        ]
    session.answer([report.to_dict() for report in reports], lambda: [line for each in reports for line in _told(each)])
    if any(report.remaining for report in reports):
        raise typer.Exit(1)


def _keys(given: list[str]) -> dict[str, list[str]]:
    """Keys by entity."""
    keys: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InvalidArgument(
                f"{text!r} names no key.", field="entity", hint="Write NAME=KEY, such as driver_id=1001."
            )
        keys.setdefault(name.strip(), []).append(value)
    if not keys:
        raise InvalidArgument("No key was named.", field="entity", hint="Write --entity driver_id=1001, or --list.")
    return keys


def _confirm(keys: dict[str, list[str]]) -> None:
    """Ask on a terminal; elsewhere --yes says it."""
    count = sum(map(len, keys.values()))
    words = f"Erase {count} {'key' if count == 1 else 'keys'} of {', '.join(keys)} for good?"
    if not sys.stdin.isatty():
        raise FailedPrecondition(
            f"{words} There is no terminal to ask on.", hint="Add --yes, or --dry-run to see what would be removed."
        )
    typer.confirm(words, abort=True, err=True)


def _told(report: ErasureReport) -> list[RenderableType]:
    from tiffin.cli.view import count, table, words

    dry = report.state == "DRY_RUN"
    mark = ("✗ ", "red") if report.remaining else ("✓ ", "green")
    done = "would be removed" if dry else "removed"
    lines: list[RenderableType] = [
        words(mark, f"{count(report.rows, 'row')} of {count(report.keys, 'key')} of {report.entity} {done}.")
    ]
    if report.removed:
        rows = [(name, f"{number:,}") for name, number in report.removed.items()]
        lines.append(table(["place", "rows"], rows, right=["rows"]))
    for place, why in report.remaining.items():
        lines.append(words(("remains ", "red"), f"{place}: {why}"))
    if report.remaining:
        lines.append("Run the same command again once these places answer.")
    if report.not_reached:
        lines += ["Not reached:", *(f"  {each}" for each in report.not_reached)]
    return lines


def _listed(found: list[dict[str, Any]]) -> list[RenderableType]:
    from tiffin.cli.view import mark, table

    if not found:
        return ["Nothing was erased."]
    rows = [
        (
            each["id"],
            each["at"],
            each["erased_by"],
            each["entity"],
            mark("COMPLETED" if each["state"] == "DONE" else "FAILED", each["state"].lower()),
            f"{sum(each.get('removed', {}).values()):,}",
            ", ".join(each.get("removed", {})),
        )
        for each in found
    ]
    return [table(["id", "at", "who", "entity", "state", "rows", "places"], rows, right=["rows"])]
