"""Columns: how the raw columns of a source become the canonical ones (semantics, sections 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import polars as pl

from tiffin.coerce import Coercion, coercion
from tiffin.definitions.schema import (
    CREATED_TS,
    DELETED,
    EVENT_TS,
    INGESTED_AT,
    INGESTED_AT_COLUMN,
    ROW,
    ROW_COLUMN,
    Column,
    TableSchema,
)
from tiffin.errors import InvalidData, closest
from tiffin.offline.mapping import columns_read, is_bare, is_expression, result_type, value_of
from tiffin.types import ValueType, polars_type

#: The type of every instant.
INSTANT: Final = pl.Datetime("us", "UTC")

Types = Mapping[str, pl.DataType]


class Reading(NamedTuple):
    """One canonical column: its name, what it is read from, and how."""

    name: str
    origin: str
    how: Coercion

    def expression(self) -> pl.Expr:
        """The column, in a query that fails where a value would be lost.

        Polars has no expression that raises, so a flag that overflows a strict cast does.
        """
        if self.how.failed is None:
            return self.how.value.alias(self.name)
        flag = (
            pl.when(self.how.failed.fill_null(value=False)).then(pl.lit(300, pl.Int16)).otherwise(pl.lit(0, pl.Int16))
        )
        return pl.when(flag.cast(pl.Int8) == 0).then(self.how.value).alias(self.name)


def needed(table: TableSchema, features: Sequence[Column], existing: Iterable[str]) -> tuple[set[str], set[str]]:
    """The raw columns that must be somewhere in the source, and those that may be nowhere.

    InvalidDefinition where a mapping is SQL, but no scalar expression.
    """
    known = set(existing)
    wanted = {table.event_column}
    if table.created_column:
        wanted.add(table.created_column)
    for column in (*table.keys, *features):
        # What is no SQL may be the name of a column that is not known yet: of files that are still to be looked at.
        name_alone = not is_bare(column, known) and not is_expression(column)
        wanted.update([column.expression] if name_alone else columns_read(table, column, known))
    optional = {INGESTED_AT_COLUMN, ROW_COLUMN}
    if table.deleted_column:
        optional.add(table.deleted_column)
    return wanted, optional - wanted


def readings(table: TableSchema, features: Sequence[Column], types: Types) -> list[Reading]:
    """How each canonical column is read from raw columns of these types; keys first, features last.

    InvalidData where a column's type is refused. Optional columns that the types lack are null.
    """
    rows = [_declared(table, column, types) for column in table.keys]
    rows.append(_time(table, EVENT_TS, table.event_column, types))
    rows.append(_time(table, CREATED_TS, table.created_column, types))
    rows.append(_stamp(INGESTED_AT, INGESTED_AT_COLUMN, INSTANT, types))
    rows.append(_stamp(ROW, ROW_COLUMN, pl.Int64(), types))
    rows.append(_deleted(table, types))
    rows.extend(_declared(table, column, types) for column in features)
    return rows


def key_readings(table: TableSchema, types: Types) -> list[Reading]:
    """As :func:`readings`, of the keys alone: nothing else need be there."""
    return [_declared(table, column, types) for column in table.keys]


def canonical_types(table: TableSchema, features: Sequence[Column]) -> dict[str, pl.DataType]:
    """The columns of a canonical frame with their types, in order."""
    return {
        **{column.name: polars_type(column.dtype) for column in table.keys},
        EVENT_TS: INSTANT,
        CREATED_TS: INSTANT,
        INGESTED_AT: INSTANT,
        ROW: pl.Int64(),
        DELETED: pl.Boolean(),
        **{column.name: polars_type(column.dtype) for column in features},
    }


def missing(table: TableSchema, absent: set[str], existing: Iterable[str], where: str) -> InvalidData:
    """The error for raw columns that are nowhere in a source; InvalidDefinition where a mapping is no SQL either."""
    name = min(absent)
    users = [c.name for c in (*table.keys, *table.features) if name in columns_read(table, c, existing)]
    purpose = f"which {users[0]!r} is read from" if users else "which holds its times"
    return InvalidData(
        f"{table.label()}: no file of {where} has the column {name!r}, {purpose}.",
        field=name,
        hint=closest(name, existing),
    )


def _declared(table: TableSchema, column: Column, types: Types) -> Reading:
    value = value_of(table, column, types)
    found = types[column.expression] if is_bare(column, types) else result_type(table, column, value, types)
    how = coercion(value, found, column.dtype)
    if how.refused:
        raise InvalidData(
            f"{table.label()}: {column.name!r} is declared {column.dtype.name}, but {column.expression!r} is of type "
            f"{found}: {how.reason}.",
            field=column.name,
            hint="Declare the type that the source has, or convert it with an expression in field_mapping.",
        )
    return Reading(column.name, column.expression, how)


def _time(table: TableSchema, name: str, raw: str, types: Types) -> Reading:
    if not raw:
        return Reading(name, raw, Coercion(pl.lit(None, INSTANT), None, ""))
    found = types[raw]
    if not isinstance(found, pl.Datetime | pl.Date | pl.Null):
        raise InvalidData(
            f"{table.label()}: the column {raw!r} is declared as a time, but is of type {found}.",
            field=raw,
            hint="Store it as a date or timestamp, of any unit and zone.",
        )
    return Reading(name, raw, coercion(pl.col(raw), found, ValueType.UNIX_TIMESTAMP))


def _stamp(name: str, raw: str, dtype: pl.DataType, types: Types) -> Reading:
    value = pl.col(raw).cast(dtype) if raw in types else pl.lit(None, dtype)
    return Reading(name, raw, Coercion(value, None, ""))


def _deleted(table: TableSchema, types: Types) -> Reading:
    raw = table.deleted_column
    if raw not in types:
        return Reading(DELETED, raw, Coercion(pl.lit(value=False), None, ""))
    how = coercion(pl.col(raw), types[raw], ValueType.BOOL)
    if how.refused:
        raise InvalidData(
            f"{table.label()}: the deleted_column {raw!r} must be boolean, but is of type {types[raw]}.",
            field=raw,
            hint="Store true, false or null in it, or name another column.",
        )
    return Reading(DELETED, raw, how._replace(value=how.value.fill_null(value=False)))


def lossy(rows: Iterable[Reading]) -> Iterator[Reading]:
    """The readings that may fail on a value."""
    return (row for row in rows if row.how.failed is not None)


def loosely(values: pl.Series, dtype: ValueType) -> pl.Series:
    """Keys as somebody wrote them, in the registered type; null where they are none of it."""
    if dtype is ValueType.BYTES:
        return values.cast(pl.Binary, strict=False)
    texts = values.cast(pl.String, strict=False).str.strip_chars()
    if dtype is ValueType.STRING:
        return texts
    if dtype is ValueType.UNIX_TIMESTAMP:
        return (
            values.cast(INSTANT, strict=False)
            if values.dtype.is_temporal()
            else texts.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        )
    if dtype is ValueType.BOOL:
        return texts.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    # A float that is a whole number is one: pandas writes integers so beside a null.
    return texts.str.replace(r"\.0+$", "").cast(polars_type(dtype), strict=False)
