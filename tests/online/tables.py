"""Small tables and canonical frames for the tests of the online store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tiffin.data_format import ParquetFormat
from tiffin.definitions.schema import CREATED_TS, DELETED, EVENT_TS, INGESTED_AT, ROW, Column, Selection, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.codec import encode_frame
from tiffin.online.layout import Layout
from tiffin.types import ValueType, polars_type

SECOND = 1_000_000


def table(
    features: Mapping[str, ValueType],
    keys: Mapping[str, ValueType] | None = None,
    *,
    name: str = "drivers",
    project: str = "default",
    max_age: int | None = None,
) -> TableSchema:
    """A table with these features, by default of the INT64 entity ``driver_id``."""
    keys = keys or {"driver_id": ValueType.INT64}
    return TableSchema(
        project=project,
        name=name,
        keys=tuple(Column(key, dtype, key) for key, dtype in keys.items()),
        features=tuple(Column(feature, dtype, feature) for feature, dtype in features.items()),
        source=FileSource("ts", ParquetFormat(), "/nowhere"),
        max_age=max_age,
    )


def frame(schema: TableSchema, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A canonical frame of rows, whose ``event`` is in microseconds and whose other ranks are null unless given."""
    columns = [
        _series(column.name, [row.get(column.name) for row in rows], column.dtype)
        for column in (*schema.keys, *schema.features)
    ]
    for name, given in ((EVENT_TS, "event"), (CREATED_TS, "created"), (INGESTED_AT, "ingested")):
        columns.append(_series(name, [row.get(given) for row in rows], ValueType.UNIX_TIMESTAMP))
    columns.append(pl.Series(ROW, [row.get("row") for row in rows], dtype=pl.Int64))
    columns.append(pl.Series(DELETED, [row.get("deleted", False) for row in rows], dtype=pl.Boolean))
    return pl.DataFrame(columns)


def _series(name: str, values: Sequence[Any], dtype: ValueType) -> pl.Series:
    if dtype.element is not ValueType.UNIX_TIMESTAMP:
        return pl.Series(name, values, dtype=polars_type(dtype))
    physical = pl.List(pl.Int64) if dtype.is_list else pl.Int64
    return pl.Series(name, values, dtype=physical).cast(polars_type(dtype))


def put(store: OnlineStore, schema: TableSchema, *rows: Mapping[str, Any]) -> None:
    """Write rows of a table as materialisation would."""
    identity = TableId(schema.project, schema.name)
    number = store.ensure(identity, Layout.of(schema.features).to_bytes())
    store.write(identity, encode_frame(schema, number, frame(schema, rows)))


def select(schema: TableSchema, *features: str) -> Selection:
    """The features of a table, all of them if none is named, under ``table:feature``."""
    chosen = tuple(c for f in features for c in schema.features if c.name == f) or schema.features
    return Selection(schema, chosen, tuple(f"{schema.name}:{column.name}" for column in chosen))
