"""``tiffin stream run``: one consumer of a table's stream, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from tiffin.cli import output
from tiffin.cli.jobs import job_data, job_view
from tiffin.cli.metrics import MetricsHost, MetricsPort, measured
from tiffin.cli.progress import progress_words
from tiffin.cli.session import Session, command, group
from tiffin.cli.signals import stopping
from tiffin.errors import JobCancelled, JobTimeout

if TYPE_CHECKING:
    import threading

    from tiffin.jobs.base import Job

app = group("stream", "Messages of a broker, into the history and the online store.")

#: Seconds between two looks at the job, and after which it is told how far it is where that has changed.
_LOOK_EVERY: Final = 0.2
_TELL_EVERY: Final = 50


@command(app, "run", example="tiffin stream run driver_statistics\ntiffin stream run trips --metrics-port 9100")
def run(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The feature table.")],
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Read the table's stream until Ctrl-C or SIGTERM.

    Run it several times, on one machine or on many, to share the work: they are one group of consumers. What is away
    is waited for. A batch that was begun is finished before the command ends.
    """
    with measured(session.client, metrics_host, metrics_port), stopping() as told:
        job = session.client.start_stream_to_online_ingestion(table)
        output.note(f"job {job.get_id()}: reading the stream of {table}")
        _watch(job, told)
    session.answer(job_data(job.record), lambda: job_view(job.record))


def _watch(job: Job, told: threading.Event) -> None:
    """Pass the job's log on until it has ended, which it is told to once ``told`` is set."""
    lines, said = 0, ""
    looks = 0
    while True:
        if told.is_set():
            job.cancel()
        try:
            job.wait(_LOOK_EVERY)
        except JobTimeout:
            looks += 1
        except JobCancelled:
            return
        log = job.log()
        for line in log[lines:]:
            output.note(line)
        lines = len(log)
        words = progress_words(job.progress)
        if looks % _TELL_EVERY == 0 and words != said:
            said = words
            output.note(words)
