"""Places of erasure, the files: dead letters, and frames that Tiffin wrote under its home.

These hold rows as they were given, under the names and in the types they were given in. So keys are looked for loosely:
in the columns that the key is read from, whatever their type; and, where keys are known, as words of texts and of
payloads that nobody could read.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from tiffin.errors import StorageError
from tiffin.ingest.deadletter import folder_of
from tiffin.ingest.erase import Done, Subject, Work
from tiffin.offline.area import seconds_old
from tiffin.offline.columns import loosely
from tiffin.offline.location import filesystem, is_remote, list_files, normalise

#: A scratch file of a living process may be in use until it is this old.
IN_USE_S: Final = 3600.0
#: As long as that a file of dead letters may take to be written.
DRAFT_S: Final = 60.0


class LetterPlace:
    """Dead letters of one table, of batches and of streams. ``columns`` are those that its key was ever read from."""

    settles = True

    def __init__(self, root: str, project: str, table: str, columns: Sequence[str]) -> None:
        self.name = f"dead letters {table}"
        self._folder = folder_of(root, project=project, table=table, batch="").rstrip("/")
        self._columns = tuple(columns)

    def erase(self, work: Work) -> Done:
        rows = unread = 0
        left: list[str] = []
        for path in _files(self._folder, ""):
            work.control.check()
            if not path.endswith(".parquet"):
                left += _draft(path, work)
                continue
            frame = _read(path)
            mask = held(frame, work.subject, self._columns)
            if mask is not None:
                rows += int(mask.sum())
                frame = frame.filter(~mask)
                if not work.dry_run:
                    _replace(path, frame)
            unread += _unread(frame, work.subject, self._columns)
        if unread:
            name = work.subject.column.name
            left.append(f"{unread} payloads that could not be read and in which {name} cannot be looked for")
        return Done(rows, tuple(left))


class FramePlace:
    """Frames of rows below a folder that Tiffin manages: training sets, entity rows on their way, scratch files."""

    settles = False

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self._folder = normalise(folder)

    def erase(self, work: Work) -> Done:
        columns = (work.subject.column.name,)
        rows = 0
        left: list[str] = []
        for path in _files(self._folder, ""):
            work.control.check()
            if not path.endswith((".parquet", ".arrow")) and not _is_bare_frame(path):
                continue
            frame = _read(path)
            mask = held(frame, work.subject, columns, words=False)
            if mask is None:
                continue
            old = seconds_old(Path(path)) if path.endswith(".arrow") else math.inf
            if old is None:
                continue
            if old < IN_USE_S:
                left.append(f"{path}: a scratch file, which may be in use and goes with its process")
                continue
            rows += int(mask.sum())
            if not work.dry_run and path.endswith(".arrow"):
                shutil.rmtree(Path(path).parent, ignore_errors=True)  # of a process that was killed
            elif not work.dry_run:
                _replace(path, frame.filter(~mask))
        return Done(rows, tuple(left))


def held(frame: pl.DataFrame, subject: Subject, columns: Sequence[str], *, words: bool = True) -> pl.Series | None:
    """Which rows of a frame hold one of the keys; None where none does."""
    masks = []
    for name in dict.fromkeys(columns):
        if name in frame.columns:
            masks.append(subject.gone(loosely(frame[name], subject.column.dtype)))
    for name, dtype in frame.schema.items() if words else ():
        masks.append(_worded(frame[name], dtype, subject))
    found = [mask.fill_null(value=False) for mask in masks if mask is not None and mask.any()]
    return pl.select(pl.any_horizontal(found)).to_series() if found else None


def _worded(values: pl.Series, dtype: pl.DataType, subject: Subject) -> pl.Series | None:
    """Which texts and payloads hold a key as a word. A number may be in a text for other reasons."""
    if isinstance(dtype, pl.String) and subject.pattern and not subject.is_number:
        return values.str.contains(subject.pattern)
    if isinstance(dtype, pl.Binary) and subject.values is not None:
        if subject.pattern is None:
            keys = subject.values.to_list()
            return pl.Series([any(key in value for key in keys) for value in values.fill_null(b"")], dtype=pl.Boolean)
        words = re.compile(subject.pattern.encode())
        return pl.Series([words.search(value) is not None for value in values.fill_null(b"")], dtype=pl.Boolean)
    return None


def _unread(frame: pl.DataFrame, subject: Subject, columns: Sequence[str]) -> int:
    """How many rows have a payload, but nothing that would tell whose they are."""
    payloads = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Binary)]
    if not payloads or (subject.values is not None and not subject.is_number):
        return 0
    read = [pl.col(name).is_not_null() for name in columns if name in frame.columns]
    known = pl.any_horizontal(read) if read else pl.lit(value=False)
    unread = pl.any_horizontal([pl.col(name).is_not_null() for name in payloads]) & ~known
    return int(frame.select(unread.sum()).item())


def _draft(path: str, work: Work) -> list[str]:
    """Remove what a writer that was killed left of a file; told where it may still be at work."""
    if is_remote(path) or not path.endswith(".tmp"):
        return []
    old = seconds_old(Path(path))
    if old is None:
        return []
    if old < DRAFT_S:
        return [f"{path}: a file that is being written"]
    if not work.dry_run:
        Path(path).unlink(missing_ok=True)
    return []


def _files(folder: str, suffix: str) -> Iterator[str]:
    if not is_remote(folder) and not Path(folder).is_dir():
        return
    for found in list_files(folder, (suffix,)):
        yield found.path


def _is_bare_frame(path: str) -> bool:
    """Whether a file without an ending is Parquet, as staged entity rows are."""
    if is_remote(path) or Path(path).suffix:
        return False
    with Path(path).open("rb") as file:
        return file.read(4) == b"PAR1"


def _read(path: str) -> pl.DataFrame:
    with _readable(path):
        if path.endswith(".arrow"):
            return pl.read_ipc(path)
        return pl.read_parquet(path, glob=False, hive_partitioning=False)


def _replace(path: str, frame: pl.DataFrame) -> None:
    """Put a frame in place of a file, or remove the file where no row is left."""
    with _readable(path):
        if is_remote(path):
            if frame.is_empty():
                filesystem(path).rm_file(path)
                return
            with filesystem(path).open(path, "wb") as file:
                frame.write_parquet(file)
            return
        final = Path(path)
        if frame.is_empty():
            final.unlink(missing_ok=True)
            return
        draft = final.with_name(f".{final.name}.erasing")
        try:
            frame.write_parquet(draft)
            draft.replace(final)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"{path!r} cannot be read or written: {type(error).__name__}.", hint="Check the file, or remove it by hand."
        ) from error
