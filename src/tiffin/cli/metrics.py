"""Metrics of commands that bring rows in: shown while they run, or left behind in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli import output
from tiffin.errors import StorageError

if TYPE_CHECKING:
    from tiffin.client import Client
    from tiffin.workspace import Workspace

#: For commands that run on: ``metrics_port: MetricsPort = None, metrics_host: MetricsHost = "127.0.0.1"``.
MetricsPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=0, max=65535, help="Show metrics for Prometheus there; 0 takes a free port."),
]
MetricsHost = Annotated[str, typer.Option(metavar="ADDRESS", help="The address at which metrics are shown.")]


@contextmanager
def shown_at(measured: Client | Workspace, host: str, port: int | None) -> Iterator[str | None]:
    """Show what is counted while the block lasts, at the URL that it is given; nothing without a port."""
    if port is None:
        yield None
        return
    from tiffin.serving.metrics.endpoint import exposed

    with exposed(host, port) as (metrics, url):
        measured.measure(metrics.ingestion)
        output.note(f"metrics at {url}")
        yield url


@contextmanager
def left_behind(client: Client) -> Iterator[None]:
    """Add what the block counts to the file of option ``metrics_textfile``, if there is one.

    What it was for is done by then, so a file that cannot be written costs a line on stderr.
    """
    named = client.config.get("metrics_textfile")
    if not named:
        yield
        return
    from tiffin.serving.metrics.base import Metrics
    from tiffin.serving.metrics.textfile import add_to, check_path

    path = check_path(Path(named))
    metrics = Metrics("tiffin_jobs", ())
    client.measure(metrics.ingestion)
    try:
        yield
    finally:
        try:
            add_to(path, metrics)
        except StorageError as error:
            output.note(f"warning: {error}")
