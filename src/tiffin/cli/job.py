"""``tiffin job run``: one job from its spec, as a controller or a launcher on another machine runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli.jobs import job_data, job_view
from tiffin.cli.metrics import measured
from tiffin.cli.session import Session, command, group
from tiffin.cli.signals import stopping

#: Seconds between two looks at whether the job has ended, or should.
_LOOK_EVERY = 0.1

app = group("job", "One job, from its description.")


@command(
    app, "run", example='tiffin job run nightly.yaml\necho \'{"type": "BATCH_INGESTION", ...}\' | tiffin job run -'
)
def run(
    session: Session,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help='A file of JSON or YAML; "-" reads it from stdin.')],
) -> None:
    """Run one job, and end when it has.

    The spec names type (BATCH_INGESTION or STREAM_INGESTION), project and tables; start and end in UTC microseconds for
    a window of event times; options; and the id of a job that was recorded already. SIGTERM or Ctrl-C tells the job to
    finish its batch and end.
    """
    from tiffin import runs
    from tiffin.errors import JobTimeout
    from tiffin.jobs.spec import load_spec, read_spec

    described = read_spec(sys.stdin.read()) if spec == "-" else load_spec(Path(spec))
    for name, value in described.options.items():
        session.config.set(name, value)
    with measured(session.workspace), stopping() as told:
        job = runs.start(session.workspace, described)
        while True:
            if told.is_set():
                job.cancel()
            try:
                job.wait(_LOOK_EVERY)
                break
            except JobTimeout:
                continue
    session.answer(job_data(job.record), lambda: job_view(job.record))
