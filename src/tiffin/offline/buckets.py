"""Buckets on disk: rows set aside by number, in bounded memory, and read back one bucket at a time in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from tiffin.errors import StorageError

_BUCKET: Final = "$bucket"


class Buckets:
    """Rows of one schema in ``count`` buckets below ``folder``; at most about ``limit`` bytes wait in memory.

    Rows of one bucket come back in the order in which they were added.
    """

    def __init__(self, folder: Path, count: int, limit: int) -> None:
        self.count = count
        self._folder = folder
        self._limit = limit
        self._waiting: dict[int, list[pl.DataFrame]] = {}
        self._bytes = 0
        self._files: dict[int, list[Path]] = {}
        self._schema: pl.Schema | None = None
        folder.mkdir(parents=True)

    def add(self, rows: pl.DataFrame, bucket: pl.Expr) -> None:
        """Set rows aside, each in the bucket that the expression numbers."""
        self._schema = rows.schema
        parts = rows.with_columns(bucket.cast(pl.UInt32).alias(_BUCKET)).partition_by(
            _BUCKET, maintain_order=True, include_key=False, as_dict=True
        )
        for (number,), part in parts.items():
            self._waiting.setdefault(int(number), []).append(part)
        self._bytes += int(rows.estimated_size())
        if self._bytes > self._limit:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for number, parts in self._waiting.items():
            files = self._files.setdefault(number, [])
            path = self._folder / f"{number}-{len(files)}.arrow"
            _write(pl.concat(parts), path)
            files.append(path)
        self._waiting.clear()
        self._bytes = 0

    def scan(self, number: int) -> pl.LazyFrame:
        """The rows of one bucket, once all were added and flushed."""
        files = self._files.get(number)
        if not files:
            return pl.LazyFrame(schema=self._schema)
        return pl.scan_ipc(files, glob=False)

    def drop(self, number: int) -> None:
        """Remove a bucket that is no longer needed from the disk."""
        for path in self._files.pop(number, []):
            path.unlink()


def bucket_of(keys: Sequence[str], count: int) -> pl.Expr:
    """The bucket of a row by the hash of its keys: the same for equal keys of equal types, null keys included."""
    return pl.struct(*keys).hash(seed=0) % count


def _write(rows: pl.DataFrame, path: Path) -> None:
    try:
        rows.write_ipc(path, compression="lz4")
    except (OSError, pl.exceptions.ComputeError) as error:
        raise StorageError(
            f"Rows cannot be set aside in the temporary folder {str(path.parent)!r}: {error}",
            field="memory_budget",
            hint="Make room there, point TMPDIR elsewhere, or raise the memory budget.",
        ) from error
