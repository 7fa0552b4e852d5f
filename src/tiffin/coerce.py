"""Coercion: values on their way in become a declared type without loss, or are refused (semantics, section 2).

The one table of what may become what, as Polars expressions: ingestion, push, streams and the reading of foreign files
use it, so that a value has one reading on every path.

===============  =========================================================================================
declared         accepted
===============  =========================================================================================
BYTES            binary; text as UTF-8
STRING           text, categories
INT32, INT64     integers in range; decimals and floats that are whole and below 2**53, where a float still
                 tells one integer from the next (pandas hands nullable integers over as floats)
DOUBLE           floats; integers that are exact; decimals of at most 15 digits
FLOAT            the same; 64-bit floats in range are rounded
BOOL             booleans
UNIX_TIMESTAMP   instants of any unit and zone (naive ones are UTC), dates (midnight UTC), whole numbers as seconds
a list           lists and arrays of what its element accepts, nulls inside kept
===============  =========================================================================================

Null is a value of every type. NaN is a value of floats and of nothing else.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import polars as pl

from tiffin.types import ValueType, polars_type

Rounding = Literal["up", "down"]
"""Where times finer than a microsecond go: features up, entity rows down, so that nothing leaks."""

_SECOND_US: Final = 1_000_000
_MAX_SECONDS: Final = (2**63 - 1) // _SECOND_US
_MAX_MILLIS: Final = (2**63 - 1) // 1_000
#: From here on a float no longer tells one integer from the next.
_WHOLE_LIMIT: Final[dict[type[pl.DataType], float]] = {pl.Float32: 2.0**24, pl.Float64: 2.0**53}

#: Decimals of this many digits come back from a 64-bit float as they were.
_DECIMAL_DIGITS: Final = 15


class Coercion(NamedTuple):
    """How to read a column: ``value`` in the declared type, and where that has ``failed`` (None: it cannot fail).

    ``refused`` is true where the pair of types is, so that only nulls would pass.
    """

    value: pl.Expr
    failed: pl.Expr | None
    reason: str
    refused: bool = False


class Coerced(NamedTuple):
    """A coerced column, which of its rows had no reading (None: all had), and why."""

    values: pl.Series
    failed: pl.Series | None
    reason: str


def coercion(column: pl.Expr, dtype: pl.DataType, to: ValueType, *, finer: Rounding = "up") -> Coercion:
    """How a column of ``dtype`` becomes ``to``. ``finer`` says where times below a microsecond go."""
    target = polars_type(to)
    reason = f"a value of type {dtype} has no exact reading as {to.name}"
    if dtype == target:
        return Coercion(column, None, reason)
    if isinstance(dtype, pl.Null):
        return Coercion(column.cast(target), None, reason)
    if to.is_list:
        return _list(column, dtype, to, finer, reason)
    value = _scalar(column, dtype, to, finer)
    if value is None:
        why = f"a value of type {dtype} cannot become {to.name}"
        if isinstance(dtype, pl.String) and to is ValueType.UNIX_TIMESTAMP:
            why += "; read texts as times first, with str.to_datetime() in Polars or to_datetime() in pandas"
        return Coercion(pl.lit(None, target), column.is_not_null(), why, refused=True)
    if _never_fails(dtype, to):
        return Coercion(value, None, reason)
    return Coercion(value, column.is_not_null() & value.is_null(), reason)


def coerce(values: pl.Series, to: ValueType, *, finer: Rounding = "up") -> Coerced:
    """A column in its declared type, with a mask of the rows that have no exact reading in it."""
    how = coercion(pl.col(values.name), values.dtype, to, finer=finer)
    if how.failed is None:
        frame = values.to_frame().select(how.value.alias("value"))
        return Coerced(frame["value"].alias(values.name), None, how.reason)
    frame = values.to_frame().select(
        pl.when(~how.failed).then(how.value).alias("value"), how.failed.fill_null(value=False).alias("failed")
    )
    failed = frame["failed"]
    return Coerced(frame["value"].alias(values.name), failed if failed.any() else None, how.reason)


def _list(column: pl.Expr, dtype: pl.DataType, to: ValueType, finer: Rounding, reason: str) -> Coercion:
    target = polars_type(to)
    if isinstance(dtype, pl.Array):
        column = column.arr.to_list()
        dtype = pl.List(dtype.inner)
    if not isinstance(dtype, pl.List):
        why = f"a value of type {dtype} cannot become {to.name}"
        return Coercion(pl.lit(None, target), column.is_not_null(), why, refused=True)
    inner = coercion(pl.element(), _instance(dtype.inner), to.element, finer=finer)
    # The cast gives lists that are all empty or null the type that evaluation leaves open.
    value = column.list.eval(inner.value).cast(target)
    if inner.failed is None:
        return Coercion(value, None, reason)
    failed = column.list.eval(inner.failed).cast(pl.List(pl.Boolean)).list.any()
    return Coercion(value, failed, reason, refused=inner.refused)


def _scalar(column: pl.Expr, dtype: pl.DataType, to: ValueType, finer: Rounding) -> pl.Expr | None:
    """The column in a scalar type, null where a value has no exact reading; None where the pair is refused."""
    if to in {ValueType.INT32, ValueType.INT64}:
        return _whole(column, dtype, polars_type(to))
    if to is ValueType.DOUBLE:
        return _real(column, dtype, pl.Float64())
    if to is ValueType.FLOAT:
        return _real(column, dtype, pl.Float32())
    if to is ValueType.UNIX_TIMESTAMP:
        return _instant(column, dtype, finer)
    if to is ValueType.STRING and isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if to is ValueType.BYTES and isinstance(dtype, pl.String):
        return column.cast(pl.Binary)
    return None


def _whole(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    if dtype.is_integer():
        return column.cast(target, strict=False)
    if dtype.is_float():
        limit = _WHOLE_LIMIT.get(type(dtype), 2.0**8)
        exact = (column.abs() < limit) & (column == column.floor())
        return pl.when(exact).then(column).cast(target, strict=False)
    if isinstance(dtype, pl.Decimal):
        whole = column.cast(target, strict=False)
        return pl.when(whole.cast(dtype, strict=False) == column).then(whole)
    return None


def _real(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr | None:
    if dtype.is_float():
        rounded = column.cast(target)
        return pl.when(rounded.is_finite() | ~column.is_finite()).then(rounded)
    if dtype.is_integer():
        real = column.cast(target)
        # The largest integer of a type rounds up to a float outside it, whose way back is null.
        return pl.when(real.cast(dtype, strict=False) == column).then(real)
    if isinstance(dtype, pl.Decimal):
        double = column.cast(pl.Float64)
        return pl.when(double.abs() < 10.0 ** (_DECIMAL_DIGITS - dtype.scale)).then(double).cast(target)
    return None


def _instant(column: pl.Expr, dtype: pl.DataType, finer: Rounding) -> pl.Expr | None:
    target = pl.Datetime("us", "UTC")
    if isinstance(dtype, pl.Date):
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        ticks = column.to_physical()
        if dtype.time_unit == "ms":
            return pl.when(ticks.is_between(-_MAX_MILLIS, _MAX_MILLIS)).then(ticks * 1_000).cast(target)
        if dtype.time_unit == "ns":
            floor = ticks // 1_000
            late = pl.when(floor * 1_000 < ticks).then(1).otherwise(0) if finer == "up" else 0
            return (floor + late).cast(target)
        return ticks.cast(target)
    seconds = _whole(column, dtype, pl.Int64()) if dtype.is_numeric() else None
    if seconds is None:
        return None
    return pl.when(seconds.is_between(-_MAX_SECONDS, _MAX_SECONDS)).then(seconds * _SECOND_US).cast(target)


def _never_fails(dtype: pl.DataType, to: ValueType) -> bool:
    """Whether every value of a type has a reading, so that no check is needed."""
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.String | pl.Date):
        return True
    if isinstance(dtype, pl.Datetime):
        return dtype.time_unit != "ms"
    small = (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16)
    match to:
        case ValueType.INT32:
            return isinstance(dtype, small)
        case ValueType.INT64:
            return isinstance(dtype, (*small, pl.Int32, pl.UInt32))
        case ValueType.DOUBLE:
            return isinstance(dtype, (*small, pl.Int32, pl.UInt32)) or dtype.is_float()
        case ValueType.FLOAT:
            return isinstance(dtype, small)
        case _:
            return False


def _instance(dtype: Any) -> pl.DataType:
    """A type as an instance: the inner type of a list may be given as its class."""
    made: pl.DataType = dtype if isinstance(dtype, pl.DataType) else dtype()
    return made
