"""Files that a caller names as a batch: Parquet, CSV and JSON lines, one file, a folder or a glob."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl
from deltalake import DeltaTable

from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidArgument, InvalidData, NotFound, StorageError
from tiffin.ingest.text import Given, csv_frames, declared_types, json_frames
from tiffin.offline.delta import open_table
from tiffin.offline.lake import log_files
from tiffin.offline.location import Found, is_glob, list_files, normalise

_KINDS: Final = {
    ".parquet": "Parquet",
    ".parq": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".csv.gz": "CSV",
    ".jsonl.gz": "JSON lines",
    ".json": "JSON lines",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
}


def read_files(url: str, table: TableSchema) -> Iterator[Given]:
    """The rows of all files that a path, glob or URI names, by path and position.

    A folder with a Delta log is read through it. NotFound where nothing is there; InvalidData where a file is not what
    its name says.
    """
    uri = normalise(url)
    log = None if is_glob(uri) else open_table(uri)
    files = list_files(uri) if log is None else _files_of(uri, log)
    if not files:
        what = "matches no file" if is_glob(uri) else "is no file, and no folder with files to ingest"
        raise NotFound(f"{url!r} {what}.", field="source", hint="Check the path; names with . or _ first are no data.")
    kinds = {_kind(file.path, alone=len(files) == 1) for file in files}
    if len(kinds) > 1:
        raise InvalidArgument(
            f"{url!r} holds files of different kinds: {', '.join(sorted(kinds))}.",
            field="source",
            hint="Name those of one kind with a glob, such as 'folder/*.csv'.",
        )
    for file in files:
        yield from _read(file, kinds.copy().pop(), table)


def _files_of(uri: str, table: DeltaTable) -> tuple[Found, ...]:
    return tuple(Found(f.path, f.size, f.modified_ns, f.partition) for f in log_files(uri, table, ""))


def _kind(path: str, *, alone: bool) -> str:
    name = path.rpartition("/")[2].lower()
    for suffix in sorted(_KINDS, key=len, reverse=True):
        if name.endswith(suffix):
            return _KINDS[suffix]
    if alone or "." not in name:
        return "Parquet"
    raise InvalidArgument(
        f"{path!r} is neither Parquet, CSV nor JSON lines by its name.",
        field="source",
        hint=f"The endings are: {', '.join(_KINDS)}.",
    )


def _read(file: Found, kind: str, table: TableSchema) -> Iterator[Given]:
    readers = {"Parquet": _parquet_frames, "CSV": csv_frames, "JSON lines": json_frames}
    try:
        for given in readers[kind](file.path, table):
            yield _with_folders(given, file, table)
    except pl.exceptions.PolarsError as error:
        raise InvalidData(
            f"{file.path!r} cannot be read as {kind}: {error}.",
            field="source",
            hint="Mend the file, or name it by its kind.",
        ) from error
    except FileNotFoundError as error:
        raise NotFound(
            f"{file.path!r} went away while it was read.", field="source", hint="Nothing was stored; call again."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{file.path!r} cannot be read: {error}.", field="source", hint="Check its permissions and the credentials."
        ) from error


def _parquet_frames(path: str, _: TableSchema) -> Iterator[Given]:
    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    yield from map(Given, scan.collect_batches(chunk_size=1 << 17, maintain_order=True))


def _with_folders(given: Given, file: Found, table: TableSchema) -> Given:
    """The frame with the values of ``key=value`` folders for columns that the file lacks, as texts."""
    frame, texts = given
    folders = {name: value for name, value in file.partition.items() if name not in frame.columns}
    if not folders:
        return given
    declared = declared_types(table, [*frame.columns, *folders])
    wide = frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in folders.items())
    return Given(wide, {**texts, **{name: "plain" for name in folders if name in declared}})
