"""``tiffin jobs list|show|cancel|logs|run|schedule|unschedule|schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.metrics import MetricsHost, MetricsPort, measured
from tiffin.cli.session import Session, command, group

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.cli.view import Cell
    from tiffin.jobs.record import JobRecord
    from tiffin.jobs.schedule import Schedule

app = group("jobs", "Work that ran or is running.")

_Table = Annotated[str, typer.Argument(metavar="TABLE", help="The feature table.")]
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


@command(app, "run", example="tiffin jobs run\ntiffin jobs run --project rides")
def run_jobs(session: Session, metrics_port: MetricsPort = None, metrics_host: MetricsHost = "127.0.0.1") -> None:
    """Keep streams running and run schedules, until SIGTERM or Ctrl-C.

    Each feature table that has a stream source is kept up to date by one job, which is started again when it dies or
    its definition changes; schedules run when they are due. Run as many of these as you like, on any machines: one
    leads and the others stand by. At the end the jobs are told to finish their batches. With --project only that one is
    cared for.
    """
    from tiffin import runs
    from tiffin.cli.signals import stopping
    from tiffin.serving import logs

    logs.configure_from(session.config)
    with measured(session.workspace, metrics_host, metrics_port), stopping() as told:
        runs.open_controller(session.workspace, session.project).run(told)


@command(
    app,
    "schedule",
    example='tiffin jobs schedule driver_statistics --cron "0 * * * *" --timespan P1D\n'
    'tiffin jobs schedule driver_statistics --cron "*/5 * * * *"',
)
def schedule(
    session: Session,
    table: _Table,
    cron: Annotated[
        str, typer.Option(metavar="CRON", help="Minute, hour, day of month, month and day of week, in UTC.")
    ],
    timespan: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="The window that ends at each run, in seconds or as P1D or PT2H; else what was committed.",
        ),
    ] = None,
) -> None:
    """Materialize a table again and again, in place of what was scheduled for it before. Needs `tiffin jobs run`."""
    session.client.schedule_offline_to_online_ingestion(table, timespan, cron, project=session.project)
    found = [each for each in session.client.list_schedules(session.project) if each.table == table]
    session.answer([_schedule_data(each) for each in found], lambda: [_schedules_view(found)])


@command(app, "unschedule", example="tiffin jobs unschedule driver_statistics")
def unschedule(session: Session, table: _Table) -> None:
    """Schedule a table no longer; a run that has begun goes on."""
    session.client.unschedule_offline_to_online_ingestion(table, session.project)
    session.answer({"table": table}, lambda: [f"{table} has no schedule."])


@command(app, "schedules", example="tiffin jobs schedules")
def schedules(session: Session) -> None:
    """The tables of the project that are scheduled, and when each is due."""
    found = session.client.list_schedules(session.project)
    session.answer([_schedule_data(each) for each in found], lambda: [_schedules_view(found)])


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
        "attempt": record.attempt,
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
        ("lag", "" if record.progress.lag is None else f"{record.progress.lag:.1f} s"),
        ("attempt", str(record.attempt) if record.attempt > 1 else ""),
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


def _schedule_data(schedule: Schedule) -> dict[str, Any]:
    return {
        "project": schedule.project,
        "table": schedule.table,
        "cron": schedule.cron,
        "timespan": None if schedule.timespan is None else schedule.timespan / 1_000_000,
        "due": clock.to_iso(schedule.due),
        "last_due": None if schedule.run_due is None else clock.to_iso(schedule.run_due),
        "last_job": schedule.run_job,
    }


def _schedules_view(schedules: list[Schedule]) -> RenderableType:
    from tiffin.cli.view import moment, table
    from tiffin.jobs.schedule import show_timespan

    if not schedules:
        return "No schedules."
    rows = [
        (each.table, each.cron, show_timespan(each.timespan), moment(each.due), each.run_job or "")
        for each in schedules
    ]
    return table(["table", "cron", "window", "due", "last job"], rows)
