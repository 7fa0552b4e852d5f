"""The staging area of a lake: where a batch's files grow, and what tells orphans of a crash from files in use.

Below ``_tiffin/`` every batch has a folder named by its token. Files grow there without a Parquet ending, so that no
reader takes them for data, and are renamed into place just before the commit. An intent, written before the first
rename and locked as long as its process lives, names the files in place, so that a later ingestion can remove those
of a batch that was never committed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

import msgspec
from deltalake import DeltaTable

from tiffin.offline.delta import LOG, delta_errors
from tiffin.offline.entries import entry_of
from tiffin.offline.location import filesystem, is_remote

#: The folder below a table's own; its name hides it from readers of bare folders.
AREA: Final = "_tiffin"
#: The key of a commit's metadata that holds its batch's token.
TOKEN: Final = "tiffin.token"  # noqa: S105  # the name of a key, not a secret
#: How old an abandoned batch must be before it is removed.
ABANDONED_AFTER_S: Final = 3600.0

_INTENT: Final = "intent.json"


class Part(NamedTuple):
    """A data file of a batch: where it lies below the table's folder, and what the log says of it."""

    path: str
    size: int
    rows: int
    partition: dict[str, str | None]
    stats: str


class Intent(msgspec.Struct, frozen=True):
    """What a batch is about to put in place, above which version of the log."""

    version: int
    paths: tuple[str, ...]


class Area:
    """The staging folder of one batch; a context manager that leaves nothing behind unless its process is killed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.token = uuid.uuid4().hex
        self._folder = Path(uri) / AREA / self.token
        self._lock: IO[bytes] | None = None
        self._paths: list[str] = []
        self._at_stake = False

    def __enter__(self) -> Area:
        if not is_remote(self.uri):
            with delta_errors(self.uri):
                self._folder.mkdir(parents=True)
                self._lock = (self._folder / _INTENT).open("wb")
                # Without locks of the file system nobody can tell that a batch is abandoned, so nothing is swept.
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._at_stake:
            self.withdraw()
        if self._lock is not None:
            if not self._at_stake:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.close()

    def save(self, content: memoryview, path: str) -> None:
        """Keep a data file that will lie at ``path`` below the table. Objects of a bucket appear whole, so at once."""
        self._paths.append(path)
        if is_remote(self.uri):
            filesystem(self.uri).pipe_file(f"{self.uri}/{path}", bytes(content))
        else:
            (self._folder / str(len(self._paths))).write_bytes(content)

    def publish(self, version: int) -> None:
        """Put all files in place, to be committed above ``version``."""
        if self._lock is None:
            return
        self._lock.write(msgspec.json.encode(Intent(version, tuple(self._paths))))
        self._lock.flush()
        os.fsync(self._lock.fileno())
        folders = {Path(self.uri)}
        for number, path in enumerate(self._paths, 1):
            final = Path(self.uri) / path
            final.parent.mkdir(parents=True, exist_ok=True)
            grown = self._folder / str(number)
            _flush(grown)
            grown.rename(final)
            folders.update(parent for parent in final.parents if parent.is_relative_to(self.uri))
        for folder in folders:
            _flush(folder)

    def stake(self) -> None:
        """A commit is about to be tried: from here on only the log can tell whether the files are in use.

        Whatever interrupts the work now leaves files and intent where they are, for a later :func:`sweep` to judge.
        """
        self._at_stake = True

    def settle(self, version: int) -> None:
        """Have the disk itself hold the log's entry of a version: what was acknowledged outlives a loss of power."""
        if self._lock is None:
            return
        log = Path(self.uri) / LOG
        # Those before it may have made the table or its columns, on behalf of this batch.
        for entry in (log / f"{number:020}.json" for number in range(max(version - 2, 0), version + 1)):
            if entry.exists():
                _flush(entry)
        _flush(log)

    def lost(self) -> None:
        """The log tells that the files are not in use."""
        self._at_stake = False

    def keep(self) -> None:
        """The files are committed: they stay."""
        self._paths.clear()
        self._at_stake = False

    def withdraw(self) -> None:
        """Remove the files that were put in place."""
        remove(self.uri, self._paths)
        self._paths.clear()


def _flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(uri: str, paths: Iterable[str]) -> None:
    """Remove files below a table, as far as they are there."""
    for path in paths:
        if not is_remote(uri):
            (Path(uri) / path).unlink(missing_ok=True)
        elif filesystem(uri).exists(f"{uri}/{path}"):
            filesystem(uri).rm_file(f"{uri}/{path}")


def intents(uri: str) -> set[str]:
    """The files below a table that batches have put in place, or are about to, which no log has named yet."""
    return {path for intent in _intents(uri) for path in intent.paths}


def bases(uri: str) -> set[int]:
    """The versions of the log that batches on their way go by."""
    return {intent.version for intent in _intents(uri)}


def _intents(uri: str) -> Iterator[Intent]:
    area = Path(uri) / AREA
    if is_remote(uri) or not area.is_dir():
        return
    for place in area.glob(f"*/{_INTENT}"):
        with suppress(FileNotFoundError, msgspec.DecodeError):  # just withdrawn, or nothing is in place yet
            yield msgspec.json.decode(place.read_bytes(), type=Intent)


def sweep(uri: str, table: DeltaTable, *, older_than: float | None = None) -> int:
    """Remove what killed ingestions left behind, once old enough; how many batches. Files in use are never touched.

    ``older_than`` is in seconds, ABANDONED_AFTER_S if left out; a moment must be left to a batch for taking its lock.

    A batch is abandoned where nobody holds the lock on its intent; its files are orphans where every commit since
    its intent is still on record and none bears its token. On a bucket there is no lock, and ``vacuum`` is the way.
    """
    area = Path(uri) / AREA
    if is_remote(uri) or not area.is_dir():
        return 0
    swept = 0
    age = ABANDONED_AFTER_S if older_than is None else older_than
    for folder in area.iterdir():
        old = seconds_old(folder) if folder.is_dir() else None
        if old is not None and old >= age:
            swept += _sweep_one(uri, table, folder)
    return swept


def seconds_old(path: Path) -> float | None:
    """For how long a file or folder was not changed; None where its owner has removed it meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None


def _sweep_one(uri: str, table: DeltaTable, folder: Path) -> bool:
    try:
        with (folder / _INTENT).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            written = lock.read()
            if written:
                intent = msgspec.json.decode(written, type=Intent)
                orphaned = _is_orphan(uri, table, folder.name, intent.version)
                if orphaned is None:
                    return False
                if orphaned:
                    remove(uri, intent.paths)
            shutil.rmtree(folder, ignore_errors=True)
            return True
    except FileNotFoundError:
        # Killed between the folder and its intent: nothing was put in place.
        shutil.rmtree(folder, ignore_errors=True)
        return True
    except (OSError, msgspec.DecodeError):
        return False  # locked by a living process, or on a file system without locks: not ours to judge


def _is_orphan(uri: str, table: DeltaTable, token: str, version: int) -> bool | None:
    """Whether a batch was never committed; None where the log no longer tells."""
    told = [entry_of(uri, number) for number in range(version + 1, table.version() + 1)]
    if any(entry is not None and entry.get(TOKEN) == token for entry in told):
        return False
    return True if None not in told else None
