"""``tiffin jobs list|show|cancel|logs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.session import Session, command, group

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.cli.view import Cell
    from tiffin.jobs.record import JobRecord

app = group("jobs", "Work that ran or is running.")

_Id = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as `tiffin jobs list` shows it.")]


@command(app, "list", example="tiffin jobs list\ntiffin jobs list --running --table driver_statistics")
def list_jobs(
    session: Session,
    running: Annotated[bool, typer.Option("--running", help="Only jobs that have not ended.")] = False,
    table: Annotated[str | None, typer.Option("--table", "-t", metavar="TABLE", help="Only jobs of this one.")] = None,
) -> None:
    """Jobs of every process that uses this store, the newest first."""
    jobs = session.client.list_jobs(include_terminated=not running, table_name=table, project=session.project)
    records = [job.record for job in jobs]
    session.answer([job_data(record) for record in records], lambda: _listing(records))


@command(app, "show", example="tiffin jobs show 4f3c")
def show_job(session: Session, job: _Id) -> None:
    """All that is recorded of one job."""
    record = session.client.get_job(job).record
    session.answer(job_data(record), lambda: job_view(record))


@command(app, "cancel", example="tiffin jobs cancel 4f3c")
def cancel_job(session: Session, job: _Id) -> None:
    """Ask a job to stop, which it does between two batches. What it wrote until then stays."""
    handle = session.client.get_job(job)
    handle.cancel()
    record = handle.record
    ended = record.status.is_final
    words = f"Job {record.id} had ended already: {record.status.name}." if ended else f"Job {record.id} will stop."
    session.answer(job_data(record), lambda: [words])


@command(app, "logs", example="tiffin jobs logs 4f3c")
def show_logs(session: Session, job: _Id) -> None:
    """The lines that a job has logged, each with its instant."""
    lines = session.client.get_job(job).log()
    session.answer({"id": job, "lines": lines}, lambda: lines)


def job_data(record: JobRecord) -> dict[str, Any]:
    """A job for machines."""
    return {
        "id": record.id,
        "type": record.type.name,
        "project": record.project,
        "tables": list(record.tables),
        "status": record.status.name,
        "start": clock.to_iso(record.start),
        "end": None if record.end is None else clock.to_iso(record.end),
        "rows_written": record.outcome.written,
        "rows_skipped": record.outcome.skipped,
        "rows_rejected": record.outcome.rejected,
        "progress": output.plain(record.progress),
        "output": record.output,
        "error": record.error,
    }


def job_view(record: JobRecord) -> list[RenderableType]:
    """A job for people."""
    from tiffin.cli.progress import progress_words
    from tiffin.cli.view import count, facts, mark, moment

    end = clock.now() if record.end is None else record.end
    done = record.outcome
    pairs: list[tuple[str, Cell]] = [
        ("job", record.id),
        ("what", record.type.word),
        ("project", record.project),
        ("tables", ", ".join(record.tables)),
        ("status", mark(record.status.name)),
        ("started", moment(record.start)),
        ("took", f"{(end - record.start) / 1_000_000:.1f} s"),
        ("progress", "" if record.status.is_final else progress_words(record.progress)),
        ("written", count(done.written, "row")),
        ("skipped", count(done.skipped, "row") if done.skipped else ""),
        ("rejected", count(done.rejected, "row") if done.rejected else ""),
        ("output", record.output),
        ("error", record.error),
    ]
    return [facts(pairs)]


def _listing(records: list[JobRecord]) -> list[RenderableType]:
    from tiffin.cli.view import mark, moment, table

    if not records:
        return ["No jobs."]
    rows = [
        (
            record.id,
            record.type.word,
            ", ".join(record.tables),
            mark(record.status.name),
            moment(record.start),
            f"{record.outcome.written:,}",
        )
        for record in records
    ]
    return [table(["job", "what", "tables", "status", "started", "rows"], rows, right=["rows"])]
