"""Delta tables as delta-rs opens them, and the one edge where its errors become Tiffin's."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tiffin.errors import ConcurrentChange, NotFound, StorageError, TiffinError, Unsupported
from tiffin.offline.location import is_remote

#: The folder of the log, beside the data.
LOG: Final = "_delta_log"
#: The folder below a table's own to which old entries are moved (``archive.py``): a table in itself, without data.
ARCHIVE: Final = "_tiffin_archive"
#: What the kernel of delta-rs unescapes in a path that was unescaped before, however often it is escaped: it then reads
#: another folder than the one that was written.
_MISREAD: Final = re.compile(r"%[0-9A-Fa-f]{2}|\\")


#: How often a table is tried to be opened.
OPENINGS: Final = 4

#: The process that used the libraries of histories first, and left their threads to all that are forked from it.
_user: int | None = None


def check_process() -> None:
    """Raise Unsupported in a process forked from one that had used delta-rs and Polars: their threads are not in it.

    delta-rs would panic, Polars might wait for ever.
    """
    global _user  # of the process, as the threads are
    if _user is None:
        _user = os.getpid()
    if _user != os.getpid():
        raise Unsupported(
            f"This process (pid {os.getpid()}) was forked from one (pid {_user}) that had used histories, whose "
            "libraries do not survive a fork. Online reads do.",
            hint="Start processes with 'spawn' or 'forkserver' (multiprocessing.set_start_method), or fork before the "
            "first call that reads or writes a history.",
        )


@contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Raise what delta-rs and the disk raise as StorageError or ConcurrentChange, and a fork as Unsupported."""
    check_process()
    try:
        yield
    except TiffinError:
        raise
    except CommitFailedError as error:
        raise ConcurrentChange(f"Another writer committed to {uri!r} first: {error}") from error
    except (DeltaError, OSError) as error:
        raise StorageError(
            f"The table at {uri!r} refused the work: {error}",
            field="file_url",
            hint="Check that the location can be read and written and that its disk has room.",
        ) from error


def check_name(uri: str) -> None:
    """Raise Unsupported where a folder's path cannot hold a Delta table, because delta-rs would look elsewhere."""
    found = None if is_remote(uri) else _MISREAD.search(uri)
    if found is not None:
        raise Unsupported(
            f"{uri!r} cannot hold a table: its path has {found[0]!r}, which the library of Delta tables takes for an "
            "escaped character, so that it would look in another folder.",
            field="file_url",
            hint="Rename the folder, or put the store (option home) or the source elsewhere.",
        )


@contextmanager
def holding(tables: dict[str, DeltaTable]) -> Iterator[None]:
    """Within the block, a table that this thread opens again is the same one, brought up to date.

    A log that is long is read from its beginning once. For readers that do not keep tables at older versions; writers
    open their own. ``tables`` is kept by the caller, from one block to the next.
    """
    before = _held.tables
    _held.tables = tables
    try:
        yield
    finally:
        _held.tables = before


class _Held(threading.local):
    """The tables that a thread holds, by location."""

    tables: dict[str, DeltaTable] | None = None


_held: Final = _Held()


def open_table(uri: str, version: int | None = None) -> DeltaTable | None:
    """The Delta table at a normalised location, at a version or the newest; None where there is no log.

    NotFound where there is a log without that version; Unsupported where it uses what cannot be read exactly, or has
    a path that :func:`check_name` refuses.
    """
    with delta_errors(uri):
        if not is_remote(uri) and not (Path(uri) / LOG).is_dir():
            return None
        check_name(uri)
        try:
            table = _newest(uri, version)
        except TableNotFoundError:
            return None
        newest = table.version()
        if version is not None and version != newest:
            if version > newest:
                raise NotFound(
                    f"{uri!r} has no version {version}; the newest is {newest}.", field="version", hint="Ask for that."
                )
            table = _at(uri, table, version)
    _check_readable(uri, table)
    return table


def _newest(uri: str, version: int | None) -> DeltaTable:
    """The table at its newest version: the one that is held, where it need not go back to an older one."""
    tables = _held.tables
    if tables is None:
        return _opened(uri)
    table = tables.get(uri)
    if table is None:
        table = tables[uri] = _opened(uri)
    elif version is None or version > table.version():
        table.update_incremental()
    return table if version is None or version == table.version() else DeltaTable(uri)


def _opened(uri: str) -> DeltaTable:
    """A table, tried again where its log changed meanwhile: entries are archived, checkpoints erased."""
    for attempt in range(OPENINGS - 1):
        try:
            return DeltaTable(uri)
        except TableNotFoundError:
            raise
        except DeltaError:
            time.sleep(0.01 * 2**attempt)
    return DeltaTable(uri)


def _at(uri: str, table: DeltaTable, version: int) -> DeltaTable:
    """A table at an older version, which may be in the archive; its files lie below ``uri`` all the same."""
    try:
        table.load_as_version(version)
    except DeltaError as error:
        if not is_remote(uri) and (Path(uri) / ARCHIVE / LOG / f"{version:020}.json").exists():
            with suppress(DeltaError):
                return DeltaTable(f"{uri}/{ARCHIVE}", version=version)
        raise NotFound(
            f"Version {version} of {uri!r} cannot be read any more: {error}.",
            field="version",
            hint="Its log was cleaned up; ask for a newer one.",
        ) from error
    return table


def _check_readable(uri: str, table: DeltaTable) -> None:
    """Refuse tables whose files do not hold the rows as they are."""
    features = table.protocol().reader_features or []
    configuration = table.metadata().configuration
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        raise Unsupported(
            f"The Delta table at {uri!r} maps column names, which Tiffin does not read.",
            field="file_url",
            hint="Rewrite the table with delta.columnMapping.mode=none.",
        )
    if "deletionVectors" in features and _has_deletion_vectors(table):
        raise Unsupported(
            f"The Delta table at {uri!r} has deletion vectors, which Tiffin does not read.",
            field="file_url",
            hint="Rewrite its files with REORG TABLE ... APPLY (PURGE).",
        )


def _has_deletion_vectors(table: DeltaTable) -> bool:
    try:
        return not pl.DataFrame(table.deletion_vectors()).is_empty()
    except DeltaError:
        return True  # one that cannot even be read
