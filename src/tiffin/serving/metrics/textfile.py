"""Textfile: what short commands count, for the textfile collector of Prometheus' node exporter.

A command is gone before anybody could scrape it. So each adds what it counted to a file, whose counters never fall;
beside it lie a lock, for commands that end at once, and the sums in a form that reads back exactly.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tiffin.errors import InvalidConfig, StorageError
from tiffin.serving.metrics.base import Metrics
from tiffin.serving.metrics.exposition import TEXT, exposed
from tiffin.serving.metrics.ingestion import FAMILIES
from tiffin.serving.metrics.tally import State, merged

_SUFFIX: Final = ".prom"


def check_path(path: Path) -> Path:
    """The path; InvalidConfig where the collector would not read such a file."""
    if path.suffix != _SUFFIX:
        raise InvalidConfig(
            f"Option metrics_textfile names {str(path)!r}, which the textfile collector does not read.",
            field="metrics_textfile",
            hint=f"Let its name end in {_SUFFIX}.",
        )
    return path


def add_to(path: Path, metrics: Metrics) -> None:
    """Add what a process counted of ingestion to a file; StorageError where that cannot be written."""
    families = {family.name: family for family in FAMILIES}
    counted = {name: series for name, series in metrics.state().items() if name in families and series}
    if not counted:
        return
    try:
        with _locked(path):
            whole = merged([_read(path), counted], families)
            _replace(path.with_suffix(".sums"), msgspec.msgpack.encode(whole))
            _replace(path, exposed(FAMILIES, whole, TEXT))
    except OSError as error:
        raise StorageError(
            f"Metrics cannot be added to {str(path)!r}: {error.strerror or error}.",
            field="metrics_textfile",
            hint="Make its folder writable, or leave the option out.",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> State:
    try:
        return msgspec.msgpack.decode(path.with_suffix(".sums").read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}  # the first, or of another version: Prometheus takes it for a restart


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: the collector may read at any moment."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(content)
    draft.replace(path)
