"""The spool: rows on their way, in memory as long as they are few, else in files of a scratch folder."""

from __future__ import annotations

import fcntl
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import polars as pl

from tiffin.errors import StorageError
from tiffin.offline.layout import fit, supertype

#: How many bytes of rows are held in memory before they are written out.
HELD_BYTES: Final = 128 << 20
#: How old, in seconds, a folder must be before it is taken for one of a killed process.
ABANDONED_AFTER_S: Final = 60.0
_LOCK: Final = "lock"


class Spool:
    """Frames in order, to be read again and again. A context manager that removes its files."""

    def __init__(self, scratch: str, *, held_bytes: int = HELD_BYTES) -> None:
        self._folder = Path(scratch) / f"spool-{uuid.uuid4().hex}"
        self._held_bytes = held_bytes
        self._files: list[Path] = []
        self._held: list[pl.DataFrame] = []
        self._size = 0
        self._lock: IO[bytes] | None = None
        self._types: dict[str, list[pl.DataType]] = {}
        self.rows = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """Every column with the one type that holds it in all frames; those without any value are left out."""
        types = {name: supertype(name, *dtypes) for name, dtypes in self._types.items()}
        return {name: dtype for name, dtype in types.items() if not isinstance(dtype, pl.Null)}

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows; StorageError where the scratch folder refuses them."""
        if frame.is_empty():
            return
        self.rows += frame.height
        for name, dtype in frame.schema.items():
            met = self._types.setdefault(name, [])
            if dtype not in met:
                met.append(dtype)
        self._held.append(frame)
        self._size += int(frame.estimated_size())
        if self._size > self._held_bytes:
            self._spill()

    def frames(self) -> Iterator[pl.DataFrame]:
        """All rows, each frame with all columns in their one type."""
        columns = self.columns
        for frame in self.as_added():
            yield pl.DataFrame(
                [
                    fit(frame[name], dtype)
                    if name in frame.columns and not isinstance(frame.schema[name], pl.Null)
                    else pl.Series(name, [None], dtype).new_from_index(0, frame.height)
                    for name, dtype in columns.items()
                ]
            )

    def as_added(self) -> Iterator[pl.DataFrame]:
        """All rows in the columns and types they came in."""
        for path in self._files:
            yield from pl.read_ipc(path).iter_slices(1 << 17)
        yield from self._held

    def _spill(self) -> None:
        """Write what is held; neighbours of one schema go to one file."""
        try:
            self._claim()
            for frame in joined(self._held, at_most_bytes=self._held_bytes):
                path = self._folder / f"{len(self._files)}.arrow"
                frame.write_ipc(path, compression="lz4")
                self._files.append(path)
        except (OSError, pl.exceptions.ComputeError) as error:  # Polars wraps what the disk said
            raise StorageError(
                f"The scratch folder {str(self._folder)!r} cannot be written: "
                f"{getattr(error, 'strerror', None) or error}.",
                field="staging",
                hint="Point the staging folder to a disk with room for the batch.",
            ) from error
        self._held.clear()
        self._size = 0

    def _claim(self) -> None:
        """Make the folder, locked as long as this process lives, so that what a killed one left can be told."""
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / _LOCK).open("wb")
            with suppress(OSError):  # a file system without locks: nothing of it is ever swept
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep_scratch(scratch: str, *, grace: float = ABANDONED_AFTER_S) -> int:
    """Remove the folders of spools whose processes were killed, once older than ``grace`` seconds; how many."""
    root = Path(scratch)
    swept = 0
    for folder in sorted(root.glob("spool-*")):
        with suppress(OSError):  # gone, locked by a living process, or on a file system without locks
            if time.time() - folder.stat().st_mtime >= grace:
                with (folder / _LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                swept += 1
    return swept


def joined(frames: Iterable[pl.DataFrame], *, at_most_bytes: int) -> Iterator[pl.DataFrame]:
    """Neighbouring frames of one schema as one, up to about a size."""
    group: list[pl.DataFrame] = []
    size = 0
    for frame in frames:
        if group and (size > at_most_bytes or frame.schema != group[0].schema):
            yield pl.concat(group)
            group, size = [], 0
        group.append(frame)
        size += int(frame.estimated_size())
    if group:
        yield pl.concat(group)
