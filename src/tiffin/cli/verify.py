"""``tiffin verify``: the online store compared with the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli import output
from tiffin.cli.progress import working
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.ingest.consistency import ConsistencyReport, Difference, TableReport

app = group("", "")

#: The differences of a table that are shown to people.
_SHOWN = 10


@command(app, "verify", example="tiffin verify\ntiffin verify driver_statistics --all\ntiffin verify --fix")
def verify(
    session: Session,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]", help="The feature tables; all of the project by default.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="Compare about so many keys of each; else 1000.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Compare every key.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Write the rows that differ again, and remove orphans.")] = False,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="Tell so many differences of each in JSON.")
    ] = 100,
) -> None:
    """Compare the online store with the history.

    Keys are missing, stale, different or orphaned online; a key that differs is read again before it is reported, so
    writers need not stop. Without --fix nothing is written. The exit code is 1 where a key differs.
    """
    if every and sample is not None:
        raise InvalidArgument("--all compares every key, --sample some.", field="sample", hint="Leave out one of them.")
    chosen = None if every else sample or 1000
    with working("Comparing"):
        report = session.client.verify(tables or None, chosen, fix=fix, examples=examples, project=session.project)
    session.answer(_data(report), lambda: _shown(report))
    if not report.is_consistent:
        raise typer.Exit(1)


def _data(report: ConsistencyReport) -> dict[str, Any]:
    """The report for machines."""
    tables: list[dict[str, Any]] = []
    for table in report.tables:
        examples = [output.plain(each) | {"kind": each.kind.value} for each in table.examples]
        told = {"state": table.state.value, "differences": _counts(table), "examples": examples}
        tables.append(output.plain(table) | told)
    return {"is_consistent": report.is_consistent, "found": report.found, "tables": tables}


def _counts(table: TableReport) -> dict[str, int]:
    from tiffin.ingest.consistency import Kind

    return {kind.value: table.differences.get(kind, 0) for kind in Kind}


def _shown(report: ConsistencyReport) -> list[RenderableType]:
    if not report.tables:
        return ["The project has no feature tables; there was nothing to compare."]
    return [line for table in report.tables for line in _table(table)]


def _table(table: TableReport) -> list[RenderableType]:
    from tiffin.cli.view import count, words
    from tiffin.ingest.consistency import State

    if table.state is not State.COMPARED:
        return [words(("- ", "yellow"), f"{table.table}: {table.state.value}: {table.note}")]
    beside = {
        "waiting for a first materialization": table.waiting,
        "past max age": table.expired,
        "online only": table.online_only,
        "in motion": table.moving,
    }
    told = "".join(f", {number} {what}" for what, number in beside.items() if number)
    kinds = ", ".join(f"{number} {kind}" for kind, number in _counts(table).items() if number)
    sign = words(("✗ ", "red"), f"{table.table}: {kinds}") if table.found else words(("✓ ", "green"), table.table)
    mended = f", {table.fixed} mended" if table.fixed else ""
    sign.append(f": {count(table.compared, 'key')} compared{' of a sample' if table.sampled else ''}{told}{mended}")
    lines: list[RenderableType] = [sign, *map(_example, table.examples[:_SHOWN])]
    if table.found > _SHOWN:
        lines.append(f"  and {table.found - _SHOWN} more")
    if table.found and table.behind:
        lines.append(f"  {count(table.behind, 'commit')} not materialized yet: tiffin materialize --incremental")
    return lines


def _example(example: Difference) -> str:
    key = ", ".join(f"{name}={output.plain(value)}" if name else f"key {value}" for name, value in example.key.items())
    return f"  {key}: {example.kind.value}: {example.reason}"
