"""A place of erasure: the log of what the model server has served, lines of JSON in ``FOLDER/MODEL/DAY-....jsonl``.

Whoever appends to a file or rewrites it holds its lock, so that neither loses what the other does.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import polars as pl

from tiffin.errors import StorageError
from tiffin.ingest.erase import Done, Subject, Work
from tiffin.offline.columns import loosely
from tiffin.types import ValueType

#: What the names of the log's files end with.
SUFFIX: Final = ".jsonl"


class _Line(msgspec.Struct):
    """What an erasure has to know of a line."""

    keys: dict[str, Any] = {}
    projects: list[str] = []


class ServedPlace:
    """The log of what was served. Lines that cannot be read, of a machine that lost power say, go as well."""

    name = "log of what was served"
    settles = True

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def erase(self, work: Work) -> Done:
        rows = 0
        for path in sorted(self._folder.glob(f"*/*{SUFFIX}")):
            work.control.check()
            with locked(path) as file:
                lines = file.read().splitlines(keepends=True)
                gone = erased_of(lines, work.subject)
                if not any(gone):
                    continue
                rows += sum(gone)
                if not work.dry_run:
                    _rewrite(path, [line for line, is_gone in zip(lines, gone, strict=True) if not is_gone])
        return Done(rows)


def erased_of(lines: Sequence[bytes], subject: Subject) -> list[bool]:
    """Which lines hold one of the subject's keys, or cannot be read."""
    gone = [False] * len(lines)
    keys: list[Any] = [None] * len(lines)
    for number, line in enumerate(lines):
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            gone[number] = True
            continue
        if subject.project in read.projects:
            keys[number] = read.keys.get(subject.column.name)
    found = subject.gone(key_column(keys, subject.column.dtype))
    if found is not None:
        gone = [before or now for before, now in zip(gone, found.to_list(), strict=True)]
    return gone


def key_column(values: Sequence[Any], dtype: ValueType) -> pl.Series:
    """Keys as the log has them, in the type of their entity: bytes are base64, instants microseconds."""
    if dtype is ValueType.BYTES:
        return pl.Series([_bytes(value) for value in values], dtype=pl.Binary)
    if dtype is ValueType.UNIX_TIMESTAMP:
        return pl.Series(values, dtype=pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))
    texts = [None if value is None else str(value) for value in values]
    return loosely(pl.Series(texts, dtype=pl.String), dtype)


@contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """A file of the log, made where it is not there, at its begin; nobody else changes it meanwhile. StorageError."""
    try:
        while True:
            with path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # Whoever rewrote it while we waited has put another in its place.
                if _is_still(path, file):
                    file.seek(0)
                    yield file
                    return
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be read or written: {error}.", hint="Check the disk.") from error


def _is_still(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _rewrite(path: Path, lines: Sequence[bytes]) -> None:
    if not lines:
        path.unlink()
        return
    draft = path.with_name(f".{path.name}.erasing")
    try:
        with draft.open("wb") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _bytes(value: Any) -> bytes | None:
    try:
        return None if value is None else base64.b64decode(str(value), validate=True)
    except binascii.Error:
        return None
