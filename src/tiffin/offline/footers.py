"""What the footers of Parquet files say: the columns of each. Files never change, so an answer is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import polars as pl

from tiffin.errors import CorruptData, StorageError
from tiffin.offline.lake import LakeFile
from tiffin.offline.location import is_remote

Fields = Mapping[str, pl.DataType]

#: Footers on buckets are asked for side by side: each is a round trip.
_ROUND_TRIPS: Final = 16


def fields_of(files: Sequence[LakeFile]) -> list[Fields]:
    """The columns of files with their types, in the order of the files."""
    if len(files) > 1 and is_remote(files[0].path):
        with ThreadPoolExecutor(_ROUND_TRIPS) as pool:
            return list(pool.map(_fields, files))
    return [_fields(file) for file in files]


#: What Polars raises for files that are broken, or are no longer what their footers said.
_UNREADABLE: Final = (
    pl.exceptions.ComputeError,
    pl.exceptions.SchemaError,
    pl.exceptions.ColumnNotFoundError,
    pl.exceptions.StructFieldNotFoundError,
)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Raise what a disk, a bucket or a broken file does to a scan as StorageError or CorruptData."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(
            f"{what}: a file vanished while it was read: {error}",
            field="file_url",
            hint="Another program removed or replaced it; run again.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"{what} cannot be read: {error}", field="file_url", hint="Check its permissions and the credentials."
        ) from error
    except _UNREADABLE as error:
        raise CorruptData(
            f"{what} cannot be read as Parquet: {error}",
            field="file_url",
            hint="Remove or replace the file if it is broken; names that begin with '_' or '.' are not read.",
        ) from error


def _fields(file: LakeFile) -> Fields:
    with storage_errors(repr(file.path)):
        return _cached(file.path, file.size, file.modified_ns)


@lru_cache(maxsize=8_192)
def _cached(path: str, size: int, modified_ns: int) -> Fields:
    return dict(pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema())
