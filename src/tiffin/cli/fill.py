"""``tiffin ingest``, ``push`` and ``materialize``: rows on their way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.jobs import job_data
from tiffin.cli.metrics import left_behind
from tiffin.cli.progress import watch, working
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.commit import Commit
    from tiffin.jobs.base import IngestionJob

app = group("", "")

OnInvalid = Literal["reject", "quarantine"]

_Table = Annotated[str, typer.Argument(metavar="TABLE", help="The feature table.")]
_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Path or URI of Parquet, CSV or JSON lines.")]
_Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Applied once per table: the same rows under the same key change nothing."),
]
_OnInvalid = Annotated[
    OnInvalid,
    typer.Option(
        metavar="reject|quarantine", help="Refuse the whole file for one bad row, or set the bad rows aside and go on."
    ),
]


@command(app, "ingest", example="tiffin ingest driver_statistics data/driver_statistics.csv")
def ingest(
    session: Session, table: _Table, source: _Source, idempotency_key: _Key = None, on_invalid: _OnInvalid = "reject"
) -> None:
    """Append a file of rows to a table's history.

    Rows are validated first and committed all at once; the online store is left as it is.
    """
    with left_behind(session.client), working(f"Ingesting {source}"):
        commit = session.client.ingest(table, source, idempotency_key=idempotency_key, on_invalid=on_invalid)
    session.answer(output.plain(commit), lambda: _committed(commit, online=False))


@command(app, "push", example="tiffin push driver_statistics data/today.parquet --idempotency-key 2026-09-01")
def push(
    session: Session, table: _Table, source: _Source, idempotency_key: _Key = None, on_invalid: _OnInvalid = "reject"
) -> None:
    """Write a file of rows to the history and to the online store.

    The history is written first; online, the row with the latest event of each key stays.
    """
    with left_behind(session.client), working(f"Pushing {source}"):
        commit = session.client.push(table, source, idempotency_key=idempotency_key, on_invalid=on_invalid)
    session.answer(output.plain(commit), lambda: _committed(commit, online=True))


@command(
    app,
    "materialize",
    example="tiffin materialize\ntiffin materialize --incremental\n"
    "tiffin materialize driver_statistics --start 2026-09-01 --end 2026-10-01",
)
def materialize(
    session: Session,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]", help="The feature tables; all of the project by default.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only events from this instant on (ISO 8601, UTC).")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Only events before this instant.")] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what was committed since the last run.")
    ] = False,
) -> None:
    """Bring the online store up to date with the history.

    The latest row of every key is written; a row that is newer in the store stays.
    """
    if incremental and (start or end):
        raise InvalidArgument(
            "--incremental follows what was committed, --start and --end choose by event time.",
            field="incremental",
            hint="Leave out one of them.",
        )
    names = tables or None
    since = None if start is None else clock.to_micros(start, field="start")
    until = None if end is None else clock.to_micros(end, field="end")
    with left_behind(session.client):
        if incremental:
            job = session.client.materialize_incremental(names, block=False)
        else:
            job = session.client.materialize(names, since, until, block=False)
        watch(job, f"Materializing {', '.join(job.tables)}")
    session.answer(job_data(job.record), lambda: _materialized(job))


def _committed(commit: Commit, *, online: bool) -> list[RenderableType]:
    from tiffin.cli.view import count, words

    if commit.already_applied:
        return [
            words(("✓ ", "green"), f"{commit.idempotency_key!r} had been applied before; nothing was stored again.")
        ]
    if commit.version < 0:
        return ["There were no rows; nothing was stored."]
    place = f"{commit.feature_table}, version {commit.version}{' and online' if online else ''}"
    lines: list[RenderableType] = [words(("✓ ", "green"), f"{count(commit.rows, 'row')} in {place}.")]
    if commit.rejected:
        lines.append(words(("! ", "yellow"), f"{count(commit.rejected, 'row')} set aside in {commit.dead_letters}"))
        lines += [f"  {line}" for line in output.at_fault(commit.first_rejected)]
    return lines


def _materialized(job: IngestionJob) -> list[RenderableType]:
    from tiffin.cli.view import count, words

    if not job.tables:
        return [f"Project {job.record.project} has no feature tables; there was nothing to do."]
    skipped = f", {count(job.rows_skipped, 'row')} skipped as older" if job.rows_skipped else ""
    return [words(("✓ ", "green"), f"{count(job.rows_written, 'row')} of {', '.join(job.tables)} online{skipped}.")]
