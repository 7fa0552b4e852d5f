"""Metrics of commands that bring rows in: shown while they run, or left behind in a file."""

from __future__ import annotations

import os
import tempfile
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
def measured(counting: Client | Workspace, host: str = "127.0.0.1", port: int | None = None) -> Iterator[str | None]:
    """Count what comes in while the block lasts, for whoever looks at a port, or for the process that started this one.

    The URL of the port; None without one. Children that are started meanwhile count with this process.
    """
    from tiffin.serving.metrics.base import FOLDER_VARIABLE

    if port is not None:
        with _with_children(), _shown(counting, host, port) as url:
            yield url
    elif FOLDER_VARIABLE in os.environ:
        with _joined(counting):
            yield None
    else:
        yield None


@contextmanager
def _shown(counting: Client | Workspace, host: str, port: int) -> Iterator[str]:
    from tiffin.serving.metrics.endpoint import exposed

    with exposed(host, port) as (metrics, url):
        counting.measure(metrics.ingestion)
        output.note(f"metrics at {url}")
        yield url


@contextmanager
def _joined(counting: Client | Workspace) -> Iterator[None]:
    """Count into the folder of the process that started this one; that it is gone costs a line."""
    from tiffin.serving.metrics.base import Metrics
    from tiffin.serving.metrics.endpoint import PREFIX

    try:
        metrics = Metrics(PREFIX, ())
    except StorageError as error:
        output.note(f"warning: {error}")
        yield
        return
    counting.measure(metrics.ingestion)
    metrics.start()
    try:
        yield
    finally:
        metrics.close()


@contextmanager
def _with_children() -> Iterator[None]:
    """Let children of this process count into a folder that is removed at the end."""
    from tiffin.serving.metrics.base import FOLDER_VARIABLE

    if FOLDER_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tiffin-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


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
    from tiffin.serving.metrics.endpoint import PREFIX
    from tiffin.serving.metrics.textfile import add_to, check_path

    path = check_path(Path(named))
    metrics = Metrics(PREFIX, ())
    client.measure(metrics.ingestion)
    try:
        yield
    finally:
        try:
            add_to(path, metrics)
        except StorageError as error:
            output.note(f"warning: {error}")
