"""The table that a batch goes to: opened, made, adopted from a plain folder, or given the columns it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field

from tiffin import clock
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN
from tiffin.errors import ConcurrentChange, InvalidData, StorageError, Unsupported
from tiffin.offline.adopt import adopt
from tiffin.offline.brought import INGESTED_AT
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.lake import COMMITTED_AT, committed_at
from tiffin.offline.layout import INSTANT, changed_type, delta_schema, fits, supertype, table_columns
from tiffin.offline.location import is_remote, list_parquet
from tiffin.offline.parts import Batch, Shape
from tiffin.offline.stamps import LAST, last_entry, last_stamp

#: Logs are kept, so that what was known at an instant can be told for ever.
TABLE_PROPERTIES: Final = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "25",
}
#: What tables of others may require of writers that a plain append honours.
_HONOURED: Final = frozenset(
    {
        "appendOnly",
        "changeDataFeed",
        "deletionVectors",
        "invariants",
        "timestampNtz",
        "v2Checkpoint",
        "vacuumProtocolCheck",
    }
)
_LAST_PLAIN_WRITER: Final = 2


def prepare(uri: str, batch: Batch, table: DeltaTable | None = None) -> tuple[DeltaTable, Shape]:
    """The table at a location, ready to take a batch, and the shape it takes it in; ``table`` spares opening it again.

    A location without a log gets one: an empty one starts a table, a folder of plain Parquet files is adopted.
    StorageError where the place cannot be written; FailedPrecondition where the table cannot hold a declared type;
    Unsupported where it requires of writers what Tiffin does not do.
    """
    if table is None:
        table = open_table(uri)
    else:
        with delta_errors(uri):
            table.update_incremental()
    if table is None:
        _make_folder(uri)
        table = _make_table(uri, batch)
    check_writable(uri, table)
    missing = _missing(uri, table, batch)
    if missing:
        with delta_errors(uri):
            table.alter.add_columns(
                [Field.from_json(json.dumps(field)) for field in missing], commit_properties=stamped(table)
            )
            table.update_incremental()
    return table, shape_of(table, batch)


def partition_names(uri: str, table: DeltaTable | None) -> tuple[str, ...]:
    """The columns that are folders at a location: by its table, else by its files."""
    if table is not None:
        return tuple(table.metadata().partition_columns)
    return tuple(dict.fromkeys(name for file in list_parquet(uri) for name in file.partition))


def shape_of(table: DeltaTable, batch: Batch) -> Shape:
    """The shape in which a table takes a batch."""
    have = table_columns(table.schema())
    logged = tuple(table.metadata().partition_columns)
    columns = {name: dtype for name in batch.columns if (dtype := have.get(name)) is not None}
    if batch.partition and (dtype := have.get(batch.partition)) is not None:
        columns[batch.partition] = dtype
    folders = logged if not batch.partition or batch.partition in logged else (*logged, batch.partition)
    return Shape(columns, folders, logged)


def stamped(table: DeltaTable | None, **metadata: str | int) -> CommitProperties:
    """The properties of one commit attempt, made now and later than the commit before it."""
    before = {} if table is None else last_entry(table)
    committed = max(clock.now(), committed_at(before) + 1) if before else clock.now()
    last = 0 if table is None else last_stamp(table, before)
    return CommitProperties(
        custom_metadata={
            COMMITTED_AT: committed,
            LAST: max(last, int(metadata.get(INGESTED_AT, 0))),
            **metadata,
        },
        max_commit_retries=0,
    )


def _make_table(uri: str, batch: Batch) -> DeltaTable:
    """The table made of what is there, by this writer or by another that was faster."""
    plain = list_parquet(uri)
    try:
        return adopt(uri, plain, batch, TABLE_PROPERTIES) if plain else _create(uri, batch)
    except (StorageError, ConcurrentChange):
        table = open_table(uri)
        if table is None:
            raise
        return table


def _make_folder(uri: str) -> None:
    if is_remote(uri):
        return
    try:
        Path(uri).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{uri!r} cannot be made a folder for the table: {error.strerror}.",
            field="file_url",
            hint="Name a folder that can be written.",
        ) from error


def _create(uri: str, batch: Batch) -> DeltaTable:
    columns = dict(batch.columns)
    if batch.partition:
        columns.setdefault(batch.partition, pl.Date())
    columns |= {INGESTED_AT_COLUMN: INSTANT, ROW_COLUMN: pl.Int64()}
    with delta_errors(uri):
        return DeltaTable.create(
            uri,
            delta_schema(columns),
            mode="error",
            partition_by=[batch.partition] if batch.partition else None,
            configuration=TABLE_PROPERTIES,
            commit_properties=stamped(None),
        )


def _missing(uri: str, table: DeltaTable, batch: Batch) -> list[dict[str, object]]:
    """The columns that the table lacks, as fields of its schema; refuses columns it holds in a type too narrow."""
    have = table_columns(table.schema())
    wanted = {**batch.columns, INGESTED_AT_COLUMN: INSTANT, ROW_COLUMN: pl.Int64()}
    logged = table.metadata().partition_columns
    new: dict[str, pl.DataType] = {}
    for name, dtype in wanted.items():
        if name not in have:
            new[name] = dtype
            continue
        stored = have[name]
        if stored is None or (name in batch.declared and name not in logged and not fits(dtype, stored)):
            raise changed_type(uri, name, stored, dtype)
        if name not in batch.declared and name not in logged:
            _check_castable(uri, name, dtype, stored)
    fields: list[dict[str, object]] = json.loads(delta_schema(new).to_json())["fields"] if new else []
    return fields


def _check_castable(uri: str, name: str, dtype: pl.DataType, stored: pl.DataType) -> None:
    try:
        supertype(name, dtype, stored)
    except InvalidData:
        raise changed_type(uri, name, stored, dtype) from None


def check_writable(uri: str, table: DeltaTable) -> None:
    """Raise Unsupported where a table requires of its writers what Tiffin does not do."""
    protocol = table.protocol()
    configuration = table.metadata().configuration
    demands = set(protocol.writer_features or []) - _HONOURED
    if protocol.min_writer_version > _LAST_PLAIN_WRITER and protocol.writer_features is None:
        demands |= {f"writer version {protocol.min_writer_version}"} if _uses_rules(table) else set()
    demands |= {key for key in configuration if key.startswith("delta.constraints.")}
    required = [
        f.name for f in table.schema().fields if not f.nullable and f.name not in (INGESTED_AT_COLUMN, ROW_COLUMN)
    ]
    demands |= {f"a value in {name!r}" for name in required}
    if demands:
        raise Unsupported(
            f"The Delta table at {uri!r} requires of its writers what Tiffin does not do: {sorted(demands)}.",
            field="file_url",
            hint="Ingest into a folder of its own.",
        )


def _uses_rules(table: DeltaTable) -> bool:
    """Whether columns are generated or bound by rules, which older protocols demand without naming them."""
    fields = json.loads(table.schema().to_json())["fields"]
    return any(key.startswith("delta.") for field in fields for key in field["metadata"])


__all__ = ["TABLE_PROPERTIES", "check_writable", "partition_names", "prepare", "shape_of", "stamped"]
