"""Dead letters: refused rows, set aside as Parquet with the reason, to be corrected and sent again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from tiffin.errors import StorageError
from tiffin.ingest.spool import Spool, joined
from tiffin.offline.location import filesystem, is_remote, normalise

_FILE_BYTES: Final = 64 << 20


def folder_of(root: str, *, project: str, table: str, batch: str) -> str:
    """Where the dead letters of a batch go: ``<root>/<project>/<table>/<batch>``."""
    return f"{normalise(root)}/{project}/{table}/{batch}"


def write_dead_letters(folder: str, spool: Spool) -> None:
    """Write refused rows as ``part-N.parquet``, those of one schema together.

    Equal names are overwritten, so that a batch that is tried again leaves its dead letters once. StorageError where
    the location cannot be written.
    """
    with _refused(folder):
        for number, frame in enumerate(joined(spool.as_added(), at_most_bytes=_FILE_BYTES)):
            _write(frame, f"{folder}/part-{number}.parquet")


def discard(folder: str) -> None:
    """Remove the dead letters of a batch that was not stored after all."""
    with _refused(folder):
        if not is_remote(folder):
            shutil.rmtree(folder, ignore_errors=True)
        elif filesystem(folder).exists(folder):
            filesystem(folder).rm(folder, recursive=True)


@contextmanager
def _refused(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Dead letters cannot be written to {folder!r}: {error.strerror or error}. Nothing was stored.",
            field="dead_letters",
            hint="Make the dead-letter location writable.",
        ) from error


def _write(frame: pl.DataFrame, path: str) -> None:
    """One file, whole or not at all."""
    if is_remote(path):
        with filesystem(path).open(path, "wb") as file:
            frame.write_parquet(file)
        return
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_suffix(f".{os.getpid()}.tmp")
    try:
        frame.write_parquet(partial)
        partial.rename(final)
    finally:
        partial.unlink(missing_ok=True)
