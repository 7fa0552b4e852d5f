"""Expectations as conditions on a batch: which rows fail them, and why (semantics, section 5)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Final

import polars as pl

from tiffin import clock
from tiffin.definitions.expectation import (
    AnyExpectation,
    Between,
    InSet,
    Matches,
    NotNull,
    Scalar,
    UniqueKeyAndTime,
)
from tiffin.errors import InvalidDefinition
from tiffin.types import ValueType

_WHOLE: Final = frozenset({ValueType.INT32, ValueType.INT64})
_FLOATS: Final = frozenset({ValueType.FLOAT, ValueType.DOUBLE})
_NUMBERS: Final = _WHOLE | _FLOATS
_LEAST: Final = -(2**63)
_GREATEST: Final = 2**63 - 1


def failing(expectation: AnyExpectation, column: pl.Expr, dtype: ValueType) -> tuple[pl.Expr, str] | None:
    """Which rows fail an expectation on a column of a declared type, and the reason in words.

    None for what no single row can tell (UniqueKeyAndTime). InvalidDefinition where the column's type has no such
    comparison.
    """
    match expectation:
        case UniqueKeyAndTime():
            return None
        case NotNull():
            return column.is_null(), "expected a value, found null"
        case Between():
            return _outside(column, dtype, expectation)
        case InSet():
            wanted = [value for value in expectation.values if _comparable(value, dtype)]
            _refuse_lists(expectation, dtype)
            # Compared as values of the column's own type: a set of floats fits a column of integers, exactly.
            passes = pl.any_horizontal([column == _literal(value, dtype) for value in wanted] or [pl.lit(value=False)])
            return column.is_not_null() & ~passes, f"expected one of {expectation.values!r}"
        case Matches():
            if dtype is not ValueType.STRING:
                raise _no_comparison(expectation, dtype)
            expectation.check()  # by an earlier version, one may have been registered that is none today
            return ~column.str.contains(expectation.pattern), f"expected a match of {expectation.pattern!r}"


def _outside(column: pl.Expr, dtype: ValueType, expectation: Between) -> tuple[pl.Expr, str]:
    if dtype not in _NUMBERS and dtype is not ValueType.UNIX_TIMESTAMP:
        raise _no_comparison(expectation, dtype)
    low, high = expectation.minimum, expectation.maximum
    outside = column.is_nan() if dtype in _FLOATS else pl.lit(value=False)
    if low is not None:
        outside = outside | (column < _bound(low, dtype, up=True))
    if high is not None:
        outside = outside | (column > _bound(high, dtype, up=False))
    words = {(False, True): f"at least {low}", (True, False): f"at most {high}"}
    return outside.fill_null(value=False), (
        f"expected {words.get((low is None, high is None), f'a value from {low} to {high}')}"
    )


def _bound(value: float, dtype: ValueType, *, up: bool) -> pl.Expr:
    """A bound to compare with; of whole numbers the next one, since the comparison with a float would round them."""
    if dtype not in _WHOLE:
        return _literal(value, dtype)
    # One beyond the last is still a literal, which no value reaches.
    return pl.lit(min(max(ceil(value) if up else floor(value), _LEAST - 1), _GREATEST + 1))


def _literal(value: Scalar, dtype: ValueType) -> pl.Expr:
    """A declared value to compare with; numbers for a column of instants are seconds."""
    if dtype is ValueType.UNIX_TIMESTAMP:
        instant = clock.to_micros(value) if isinstance(value, str) else round(Fraction(value) * 1_000_000)
        return pl.lit(min(max(instant, _LEAST), _GREATEST)).cast(pl.Datetime("us", "UTC"))
    if dtype in _WHOLE:
        return pl.lit(int(value))
    return pl.lit(value.encode() if dtype is ValueType.BYTES and isinstance(value, str) else value)


def _comparable(value: Scalar, dtype: ValueType) -> bool:
    """Whether a value of a set can equal one of the column at all: truth is no number, text no number."""
    if isinstance(value, bool):
        return dtype is ValueType.BOOL
    if isinstance(value, str):
        return dtype in {ValueType.STRING, ValueType.BYTES, ValueType.UNIX_TIMESTAMP}
    if dtype in _WHOLE:
        return value == int(value) and _LEAST <= value <= _GREATEST
    return dtype in _FLOATS or dtype is ValueType.UNIX_TIMESTAMP


def _refuse_lists(expectation: AnyExpectation, dtype: ValueType) -> None:
    if dtype.is_list:
        raise _no_comparison(expectation, dtype)


def _no_comparison(expectation: AnyExpectation, dtype: ValueType) -> InvalidDefinition:
    return InvalidDefinition(
        f"The expectation {type(expectation).__name__} on {expectation.columns()[0]!r} has no meaning for its type "
        f"{dtype.name}.",
        field="expectations",
        hint="Remove it, or declare another.",
    )
