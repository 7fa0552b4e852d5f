"""Dead letters: refused rows, set aside as Parquet with the reason, to be corrected and sent again.

They are written before the batch they were part of is committed, beside a note that names its table and is locked as
long as its process lives. The note goes when the commit is there. Where the process was killed in between it stays, and
:func:`finish` asks the log: dead letters of a commit stay, those of a batch that was never stored go with it.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import msgspec
import polars as pl

from tiffin.errors import StorageError
from tiffin.ingest.spool import Spool, joined
from tiffin.offline.commit_log import DEAD_LETTERS
from tiffin.offline.delta import open_table
from tiffin.offline.ledger import commits_after
from tiffin.offline.location import filesystem, is_remote, normalise

#: Seconds after which a note that nobody holds is one of a killed process; without locks, on a bucket, much later.
ABANDONED_AFTER_S: Final = 60.0
ABANDONED_REMOTE_S: Final = 86_400.0

Keep = Callable[[pl.DataFrame], pl.DataFrame]
"""Which of some refused rows are kept."""

_FILE_BYTES: Final = 64 << 20
_NOTE: Final = "_unfinished.json"


class Note(msgspec.Struct, frozen=True):
    """Which batch dead letters belong to: where it was to be stored, above which version, and since when (seconds)."""

    uri: str
    version: int
    since: float


def _all(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


def folder_of(root: str, *, project: str, table: str, batch: str) -> str:
    """Where the dead letters of a batch go: ``<root>/<project>/<table>/<batch>``."""
    return f"{normalise(root)}/{project}/{table}/{batch}"


@contextmanager
def setting_aside(folder: str, spool: Spool, uri: str, version: int, *, keep: Keep = _all) -> Iterator[None]:
    """Around the commit of a batch to ``uri`` above ``version``: its refused rows lie in ``folder`` before it begins.

    They go again where it fails. Nothing is done where no row was refused. ``keep`` leaves out those that must not be
    kept even there.
    """
    if not spool.rows:
        yield
        return
    with _noted(folder, Note(uri, version, time.time())):
        write_dead_letters(folder, spool, keep=keep)
        stored = False
        try:
            yield
            stored = True
        finally:
            if not stored:
                discard(folder)


@contextmanager
def _noted(folder: str, note: Note) -> Iterator[None]:
    """A note in a folder for the length of a block, locked where there are locks."""
    place = f"{folder}/{_NOTE}"
    content = msgspec.json.encode(note)
    lock: IO[bytes] | None = None
    with refused(folder):
        if is_remote(folder):
            filesystem(folder).pipe_file(place, content)
        else:
            Path(folder).mkdir(parents=True, exist_ok=True)
            lock = Path(place).open("ab")  # noqa: SIM115  # held to the end of the block
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(content)
            lock.flush()
    try:
        yield
        with refused(folder):
            _remove_note(folder)
    finally:
        if lock is not None:
            lock.close()


def _remove_note(folder: str) -> None:
    if not is_remote(folder):
        Path(folder, _NOTE).unlink(missing_ok=True)
    elif filesystem(folder).exists(f"{folder}/{_NOTE}"):
        filesystem(folder).rm_file(f"{folder}/{_NOTE}")


def finish(root: str, *, grace: float | None = None) -> list[str]:
    """Finish what killed processes left of dead letters below a root; the folders that were decided upon.

    ``grace`` overrules, in seconds, how old a note must be. One whose log no longer tells stays as it is.
    """
    decided = []
    for folder in _noted_folders(normalise(root)):
        if _finish_one(folder, grace):
            decided.append(folder)
    return decided


def _noted_folders(root: str) -> list[str]:
    if not is_remote(root):
        return [str(path.parent) for path in sorted(Path(root).glob(f"*/*/*/{_NOTE}"))]
    with refused(root):
        found = filesystem(root).glob(f"{root}/*/*/*/{_NOTE}")
    scheme = root.partition("://")[0]
    return [f"{scheme}://{path.partition('://')[2] or path}".rpartition("/")[0] for path in sorted(map(str, found))]


def _finish_one(folder: str, grace: float | None) -> bool:
    if is_remote(folder):
        with refused(folder):
            note = _note_in(filesystem(folder).cat_file(f"{folder}/{_NOTE}"))
        return note is not None and _decide(folder, note, ABANDONED_REMOTE_S if grace is None else grace)
    try:
        with Path(folder, _NOTE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note = _note_in(lock.read())
            return note is not None and _decide(folder, note, ABANDONED_AFTER_S if grace is None else grace)
    except OSError:
        return False  # gone, locked by a living process, or on a file system without locks


def _note_in(content: bytes) -> Note | None:
    try:
        return msgspec.json.decode(content, type=Note)
    except msgspec.DecodeError:
        return None


def _decide(folder: str, note: Note, grace: float) -> bool:
    if time.time() - note.since < grace:
        return False
    table = open_table(note.uri)
    commits = commits_after(note.uri, table, note.version) if table is not None else None
    name = folder.rpartition("/")[2]
    if commits is not None and any(entry.get(DEAD_LETTERS) == name for entry in commits.entries):
        _remove_note(folder)
    elif commits is None or commits.complete:
        discard(folder)
    else:
        return False
    return True


def write_dead_letters(folder: str, spool: Spool, *, keep: Keep = _all) -> None:
    """Write refused rows as ``part-N.parquet``, those of one schema together.

    Equal names are overwritten, so that a batch that is tried again leaves its dead letters once. StorageError where
    the location cannot be written.
    """
    with refused(folder):
        frames = (kept for frame in spool.as_added() if not (kept := keep(frame)).is_empty())
        for number, frame in enumerate(joined(frames, at_most_bytes=_FILE_BYTES)):
            write_file(frame, f"{folder}/part-{number}.parquet")


def discard(folder: str) -> None:
    """Remove the dead letters of a batch that was not stored after all."""
    with refused(folder):
        if not is_remote(folder):
            shutil.rmtree(folder, ignore_errors=True)
        elif filesystem(folder).exists(folder):
            filesystem(folder).rm(folder, recursive=True)


@contextmanager
def refused(folder: str) -> Iterator[None]:
    """Raise what a disk or bucket raises as StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Dead letters cannot be written to {folder!r}: {error.strerror or error}. Nothing was stored.",
            field="dead_letters",
            hint="Make the dead-letter location writable.",
        ) from error


def write_file(frame: pl.DataFrame, path: str) -> None:
    """One file, whole or not at all, and on the disk itself."""
    # Polars tells of a full disk in an error of its own, so it does not write.
    content = io.BytesIO()
    frame.write_parquet(content)
    if is_remote(path):
        filesystem(path).pipe_file(path, content.getvalue())
        return
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_suffix(f".{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(final)
    finally:
        partial.unlink(missing_ok=True)
