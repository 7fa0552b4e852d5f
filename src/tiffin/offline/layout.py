"""How columns are stored in a lake: Polars types as Delta types, and how a batch fits the columns of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from typing import Any, Final

import polars as pl
from deltalake import Schema

from tiffin.errors import FailedPrecondition, InvalidData

INSTANT: Final = pl.Datetime("us", "UTC")

_DELTA: Final[dict[type[pl.DataType], str]] = {
    pl.Int8: "byte",
    pl.Int16: "short",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.String: "string",
    pl.Binary: "binary",
    pl.Date: "date",
}
_POLARS: Final[dict[str, pl.DataType]] = {
    **{name: dtype() for dtype, name in _DELTA.items()},
    "timestamp": INSTANT,
    "timestamp_ntz": pl.Datetime("us"),
}
#: What a column of a foreign type is stored as: the smallest type that holds all of its values.
_STORED: Final[dict[type[pl.DataType], pl.DataType]] = {
    pl.UInt8: pl.Int16(),
    pl.UInt16: pl.Int32(),
    pl.UInt32: pl.Int64(),
    pl.UInt64: pl.Decimal(20, 0),
    pl.Int128: pl.Decimal(38, 0),
    pl.Categorical: pl.String(),
    pl.Enum: pl.String(),
    pl.Datetime: INSTANT,
}
_WHOLE: Final = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
#: The widest integers that each float holds exactly.
_EXACT_IN: Final[dict[type[pl.DataType], tuple[type[pl.DataType], ...]]] = {
    pl.Float32: (pl.Int8, pl.Int16),
    pl.Float64: (pl.Int8, pl.Int16, pl.Int32),
}


def stored_type(dtype: pl.DataType) -> pl.DataType | None:
    """The type under which a column is stored; None where a lake has none (times of day, spans, objects)."""
    if isinstance(dtype, pl.List | pl.Array):
        inner = stored_type(_instance(dtype.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(dtype, pl.Struct):
        fields = {field.name: stored_type(_instance(field.dtype)) for field in dtype.fields}
        return None if None in fields.values() else pl.Struct(fields)  # type: ignore[arg-type]  # no None is left
    if isinstance(dtype, pl.Decimal):
        return dtype
    return _STORED.get(type(dtype), dtype if type(dtype) in _DELTA else None)


def delta_schema(columns: Mapping[str, pl.DataType]) -> Schema:
    """The Delta schema of columns of stored types, all nullable."""
    fields = [{"name": n, "type": delta_type(t), "nullable": True, "metadata": {}} for n, t in columns.items()]
    return Schema.from_json(json.dumps({"type": "struct", "fields": fields}))


def table_columns(schema: Schema) -> dict[str, pl.DataType | None]:
    """A Delta table's columns and their Polars types; None for types that Polars has not (maps)."""
    return {field["name"]: _polars_type(field["type"]) for field in json.loads(schema.to_json())["fields"]}


def supertype(name: str, *dtypes: pl.DataType) -> pl.DataType:
    """The one type that stores a column met as several; InvalidData where there is none."""

    def widen(a: pl.DataType, b: pl.DataType) -> pl.DataType:
        if fits(a, b) or isinstance(a, pl.Null):
            return b
        if fits(b, a) or isinstance(b, pl.Null):
            return a
        if a.is_numeric() and b.is_numeric():
            return pl.Float64()
        if isinstance(a, pl.Date | pl.Datetime) and isinstance(b, pl.Date | pl.Datetime):
            return INSTANT
        raise InvalidData(
            f"Column {name!r} is {a} in one place and {b} in another.", field=name, hint="Give it one type throughout."
        )

    return reduce(widen, dtypes)


def fits(dtype: pl.DataType, into: pl.DataType) -> bool:
    """Whether every value of a stored type is a value of another, so that the cast loses nothing."""
    if dtype == into:
        return True
    if isinstance(dtype, pl.List) and isinstance(into, pl.List):
        return fits(_instance(dtype.inner), _instance(into.inner))
    if isinstance(dtype, pl.Datetime) and isinstance(into, pl.Datetime):
        return dtype.time_unit == into.time_unit
    if isinstance(dtype, pl.Decimal) and isinstance(into, pl.Decimal):
        return into.scale >= dtype.scale and into.precision - into.scale >= dtype.precision - dtype.scale
    if isinstance(dtype, _WHOLE) and isinstance(into, _WHOLE):
        return _WHOLE.index(type(dtype)) <= _WHOLE.index(type(into))
    if isinstance(into, pl.Float64) and isinstance(dtype, pl.Float32):
        return True
    return type(dtype) in _EXACT_IN.get(type(into), ())


def fit(values: pl.Series, into: pl.DataType) -> pl.Series:
    """A column in another stored type; InvalidData where a value would change."""
    if values.dtype == into:
        return values
    if isinstance(values.dtype, pl.Datetime) and isinstance(into, pl.Datetime):
        return values.dt.replace_time_zone(into.time_zone)
    cast = values.cast(into, strict=False)
    if not fits(values.dtype, into):
        lost = values.is_not_null() & ~(cast.cast(values.dtype, strict=False).eq_missing(values))
        if lost.any():
            raise InvalidData(
                f"Column {values.name!r} holds {values.filter(lost)[0]!r}, which is not exact as {into}.",
                field=values.name,
                hint="Give the column one type throughout.",
            )
    return cast


def changed_type(uri: str, name: str, have: pl.DataType | None, now: pl.DataType) -> FailedPrecondition:
    """The refusal of a batch whose column's declared type the table cannot hold."""
    return FailedPrecondition(
        f"Column {name!r} is stored as {have} in {uri!r}, which cannot hold the declared {now}.",
        field=name,
        hint="A stored type never changes silently: map the feature to a new column of the source, or use a new table.",
    )


def delta_type(dtype: pl.DataType) -> Any:
    """The name of a stored type in a Delta schema; a mapping for nested ones."""
    if isinstance(dtype, pl.List):
        return {"type": "array", "elementType": delta_type(_instance(dtype.inner)), "containsNull": True}
    if isinstance(dtype, pl.Struct):
        fields = [
            {"name": f.name, "type": delta_type(_instance(f.dtype)), "nullable": True, "metadata": {}}
            for f in dtype.fields
        ]
        return {"type": "struct", "fields": fields}
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "timestamp"
    return _DELTA[type(dtype)]


def _polars_type(delta: Any) -> pl.DataType | None:
    if isinstance(delta, str):
        if delta.startswith("decimal("):
            precision, scale = delta[8:-1].split(",")
            return pl.Decimal(int(precision), int(scale))
        return _POLARS.get(delta)
    if delta["type"] == "array":
        inner = _polars_type(delta["elementType"])
        return None if inner is None else pl.List(inner)
    if delta["type"] == "struct":
        fields = {field["name"]: _polars_type(field["type"]) for field in delta["fields"]}
        return None if None in fields.values() else pl.Struct(fields)  # type: ignore[arg-type]  # no None is left
    return None


def _instance(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype if isinstance(dtype, pl.DataType) else dtype()
    return made
