"""Expectations as conditions on a batch: which rows fail them, and why (semantics, section 5)."""

from __future__ import annotations

import re
from typing import Any, Final

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

_NUMBERS: Final = frozenset({ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE})


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
            # Compared as values of the column's own type, so that a set of floats fits a column of integers.
            passes = pl.any_horizontal([column == _literal(value, dtype) for value in wanted] or [pl.lit(value=False)])
            return column.is_not_null() & ~passes, f"expected one of {expectation.values!r}"
        case Matches():
            if dtype is not ValueType.STRING:
                raise _no_comparison(expectation, dtype)
            return column.is_not_null() & ~_matching(column, expectation.pattern), (
                f"expected a match of {expectation.pattern!r}"
            )


def _outside(column: pl.Expr, dtype: ValueType, expectation: Between) -> tuple[pl.Expr, str]:
    if dtype not in _NUMBERS and dtype is not ValueType.UNIX_TIMESTAMP:
        raise _no_comparison(expectation, dtype)
    low, high = expectation.minimum, expectation.maximum
    outside = pl.lit(value=False)
    if dtype in {ValueType.FLOAT, ValueType.DOUBLE}:
        outside = column.is_nan()
    if low is not None:
        outside = outside | (column < _literal(low, dtype))
    if high is not None:
        outside = outside | (column > _literal(high, dtype))
    words = {(False, True): f"at least {low}", (True, False): f"at most {high}"}
    return outside.fill_null(value=False), (
        f"expected {words.get((low is None, high is None), f'a value from {low} to {high}')}"
    )


def _literal(value: Scalar, dtype: ValueType) -> pl.Expr:
    """A declared value to compare with; numbers for a column of instants are seconds."""
    if dtype is ValueType.UNIX_TIMESTAMP:
        instant = clock.to_micros(value) if isinstance(value, str) else round(float(value) * 1_000_000)
        return pl.lit(instant).cast(pl.Datetime("us", "UTC"))
    return pl.lit(value.encode() if dtype is ValueType.BYTES and isinstance(value, str) else value)


def _comparable(value: Scalar, dtype: ValueType) -> bool:
    """Whether a value of a set can equal one of the column at all: truth is no number, text no number."""
    if isinstance(value, bool):
        return dtype is ValueType.BOOL
    if isinstance(value, str):
        return dtype in {ValueType.STRING, ValueType.BYTES, ValueType.UNIX_TIMESTAMP}
    return dtype in _NUMBERS or dtype is ValueType.UNIX_TIMESTAMP


def _matching(column: pl.Expr, pattern: str) -> pl.Expr:
    """A search for the pattern; what only Python's expressions know (look-around) is tried by Python."""
    try:
        pl.Series(["x"]).str.contains(pattern)
    except pl.exceptions.ComputeError:
        found: Any = re.compile(pattern).search
        return column.map_elements(lambda text: found(text) is not None, return_dtype=pl.Boolean)
    return column.str.contains(pattern)


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
