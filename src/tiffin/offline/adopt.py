"""Adoption: a folder of plain Parquet files becomes a Delta table in place. A log is added, nothing is rewritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, create_table_with_add_actions

from tiffin import clock
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN
from tiffin.errors import CorruptData, FailedPrecondition
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.lake import COMMITTED_AT
from tiffin.offline.layout import INSTANT, delta_schema, stored_type, supertype
from tiffin.offline.location import Found

if TYPE_CHECKING:
    from tiffin.offline.parts import Batch

#: A plain folder has no commits: its files were known at any time, and an adoption does not change that.
_ALWAYS_KNOWN: Final = CommitProperties(custom_metadata={COMMITTED_AT: 0}, max_commit_retries=0)


def adopt(uri: str, files: Sequence[Found], batch: Batch, properties: Mapping[str, str]) -> DeltaTable:
    """The table of a plain folder's files. Hive folders become its partitions; files may differ in their columns.

    ConcurrentChange where another writer made the table first; InvalidData where a column has types in two files
    that no one type holds; CorruptData where a file is not Parquet.
    """
    schemas = [_schema(file.path) for file in files]
    partitions = _partitions(uri, files, schemas)
    met: dict[str, list[pl.DataType]] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            stored = stored_type(dtype)
            if stored is not None and name not in partitions:
                met.setdefault(name, []).append(stored)
    columns = {name: supertype(name, *dtypes) for name, dtypes in met.items()}
    columns |= partitions | {INGESTED_AT_COLUMN: INSTANT, ROW_COLUMN: pl.Int64()}
    actions = [_action(uri, file, schema, partitions, batch.event) for file, schema in zip(files, schemas, strict=True)]
    with delta_errors(uri):
        create_table_with_add_actions(
            uri,
            delta_schema(columns),
            actions,
            mode="error",
            partition_by=list(partitions),
            configuration=properties,
            commit_properties=_ALWAYS_KNOWN,
        )
    table = open_table(uri)
    assert table is not None, "a table that was just made is there"
    return table


def _schema(path: str) -> dict[str, pl.DataType]:
    try:
        return dict(pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptData(
            f"{path!r} is not a Parquet file that can be read: {error}.", hint="Move it out of the table's folder."
        ) from error


def _partitions(uri: str, files: Sequence[Found], schemas: Sequence[dict[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """The hive folders as partition columns: dates where every value is one, texts otherwise."""
    names = list(dict.fromkeys(name for file in files for name in file.partition))
    for name in names:
        for file, schema in zip(files, schemas, strict=True):
            if name not in file.partition and name in schema:
                raise FailedPrecondition(
                    f"{uri!r} cannot take a log: {name!r} is a folder for some files and a column of {file.path!r}.",
                    field="file_url",
                    hint="Lay all files out alike, or ingest into a folder of its own.",
                )
    values = {name: [file.partition.get(name) for file in files] for name in names}
    return {name: pl.Date() if all(map(_is_date, values[name])) else pl.String() for name in names}


def _is_date(value: str | None) -> bool:
    if value is None:
        return True
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _action(
    uri: str, file: Found, schema: Mapping[str, pl.DataType], partitions: Mapping[str, pl.DataType], event: str
) -> AddAction:
    data_change = True
    return AddAction(
        file.path[len(uri) :].lstrip("/"),
        file.size,
        {name: file.partition.get(name) for name in partitions},
        file.modified_ns // 1_000_000,
        data_change,
        json.dumps(_statistics(file.path, schema.get(event), event)),
    )


def _statistics(path: str, dtype: pl.DataType | None, event: str) -> dict[str, Any]:
    """The number of rows and the bounds of event times, where the file has these as instants."""
    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    if not isinstance(dtype, pl.Datetime):
        return {"numRecords": scan.select(pl.len()).collect().item()}
    instant = pl.col(event).dt.cast_time_unit("us")
    if dtype.time_zone is None:
        instant = instant.dt.replace_time_zone("UTC")
    seen = scan.select(
        rows=pl.len(), least=instant.min(), most=instant.max(), nulls=pl.col(event).null_count()
    ).collect()
    rows, least, most, nulls = seen.row(0)
    if least is None:
        return {"numRecords": rows, "nullCount": {event: nulls}}
    # Finer units are cut, so the greatest event may lie up to a microsecond above.
    return {
        "numRecords": rows,
        "minValues": {event: _iso(least)},
        "maxValues": {event: _iso(most + clock.MICROSECOND)},
        "nullCount": {event: nulls},
    }


def _iso(instant: Any) -> str:
    text: str = instant.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
