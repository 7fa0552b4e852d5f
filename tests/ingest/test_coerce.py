"""Coercion: every pair of types against an oracle of plain Python (semantics, section 2)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.coerce import coerce, coercion
from tiffin.types import ValueType, polars_type

REFUSED = object()

INTEGERS = {
    pl.Int8: (-(2**7), 2**7 - 1),
    pl.Int16: (-(2**15), 2**15 - 1),
    pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt8: (0, 2**8 - 1),
    pl.UInt16: (0, 2**16 - 1),
    pl.UInt32: (0, 2**32 - 1),
    pl.UInt64: (0, 2**64 - 1),
}


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = [n for power in (24, 31, 53, 63) for n in (2**power - 1, 2**power, 2**power + 1, -(2**power))]
    return st.integers(low, high) | st.sampled_from([n for n in edges if low <= n <= high] or [low])


SOURCES: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    **{dtype.__name__: (dtype(), integers(*span)) for dtype, span in INTEGERS.items()},
    "Float32": (pl.Float32(), st.floats(width=32) | st.integers(-(2**26), 2**26).map(lambda n: to_single(float(n)))),
    "Float64": (pl.Float64(), st.floats() | integers(-(2**63), 2**63).map(float)),
    "Boolean": (pl.Boolean(), st.booleans()),
    "String": (pl.String(), st.text(max_size=5) | st.just("1")),
    "Binary": (pl.Binary(), st.binary(max_size=5)),
    "Categorical": (pl.Categorical(), st.sampled_from(["a", "b", ""])),
    "Date": (pl.Date(), st.dates()),
    "Decimal": (pl.Decimal(20, 2), st.decimals(-(10**15), 10**15, places=2, allow_nan=False)),
    "Datetime[ms]": (pl.Datetime("ms"), st.integers(-(10**13), 10**13).map(lambda n: moment(n * 1000))),
    "Datetime[us, Tokyo]": (
        pl.Datetime("us", "Asia/Tokyo"),
        st.integers(-(10**15), 10**15).map(lambda n: moment(n).replace(tzinfo=UTC)),
    ),
}


def moment(micros: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).replace(tzinfo=None)


def to_single(value: float) -> float:
    """The nearest 32-bit float; infinity where there is none."""
    try:
        single: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return single


def whole(value: Any, name: str, bits: int) -> Any:
    if isinstance(value, float):
        limit = 2**24 if name == "Float32" else 2**53
        if not (math.isfinite(value) and value.is_integer() and abs(value) < limit):
            return REFUSED
    if isinstance(value, Decimal) and value != value.to_integral_value():
        return REFUSED
    return int(value) if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else REFUSED


def real(value: Any, width: int) -> Any:
    if isinstance(value, float):
        rounded = to_single(value) if width == 32 else value
        return REFUSED if math.isinf(rounded) and math.isfinite(value) else rounded
    if isinstance(value, Decimal):
        double = float(value)
        return REFUSED if abs(value) >= 10**13 else (to_single(double) if width == 32 else double)
    if width == 32:
        single = to_single(float(value))
        return single if math.isfinite(single) and Fraction(single) == value else REFUSED
    return float(value) if Fraction(float(value)) == value else REFUSED


def instant(value: Any, name: str) -> Any:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    seconds = whole(value, name, 64)
    if seconds is REFUSED or abs(seconds) > (2**63 - 1) // 10**6:
        return REFUSED
    return seconds  # compared as microseconds: Python's datetime ends in the year 9999


def oracle(value: Any, name: str, to: ValueType) -> Any:
    """What semantics says a value becomes, in plain Python."""
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    match to:
        case ValueType.INT32 | ValueType.INT64 if number:
            return whole(value, name, 32 if to is ValueType.INT32 else 64)
        case ValueType.DOUBLE | ValueType.FLOAT if number:
            return real(value, 64 if to is ValueType.DOUBLE else 32)
        case ValueType.UNIX_TIMESTAMP if number or isinstance(value, date):
            return instant(value, name)
        case ValueType.BOOL if isinstance(value, bool):
            return value
        case ValueType.STRING if isinstance(value, str):
            return value
        case ValueType.BYTES if isinstance(value, bytes):
            return value
        case ValueType.BYTES if isinstance(value, str) and name == "String":
            return value.encode()
    return REFUSED


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    return type(a) is type(b) and a == b


def plain(values: pl.Series, to: ValueType) -> list[Any]:
    """Values to compare: instants outside Python's years as seconds."""
    if to is not ValueType.UNIX_TIMESTAMP:
        return values.to_list()
    return values.dt.epoch("us").to_list()


def micros_of(expected: Any) -> Any:
    if isinstance(expected, datetime):
        return (expected - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return expected * 10**6 if isinstance(expected, int) else expected


SCALARS = [to for to in ValueType if to is not ValueType.UNKNOWN and not to.is_list]


@pytest.mark.parametrize("to", SCALARS, ids=lambda to: to.name)
@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=15)
@given(data=st.data())
def test_every_pair_agrees_with_plain_python(name: str, to: ValueType, data: st.DataObject) -> None:
    dtype, values = SOURCES[name]
    items = data.draw(st.lists(st.none() | values, min_size=1, max_size=40))
    check(items, pl.Series("c", items, dtype), name, to)


def check(items: list[Any], series: pl.Series, name: str, to: ValueType) -> None:
    answer = coerce(series, to)
    assert answer.values.dtype == polars_type(to)
    failed = [False] * len(items) if answer.failed is None else answer.failed.to_list()
    for item, value, bad in zip(items, plain(answer.values, to), failed, strict=True):
        expected = None if item is None else oracle(item, name, to)
        if expected is REFUSED:
            assert bad, f"{item!r} became {value!r}"
            assert value is None
        else:
            if to is ValueType.UNIX_TIMESTAMP:
                expected = micros_of(expected)
            assert not bad, f"{item!r} was refused: {answer.reason}"
            assert same(value, expected), f"{item!r} became {value!r}, not {expected!r}"


@pytest.mark.parametrize("to", [to for to in ValueType if to.is_list], ids=lambda to: to.name)
@pytest.mark.parametrize("name", ["Int64", "UInt64", "Float64", "String", "Boolean", "Decimal"])
@settings(max_examples=15)
@given(data=st.data())
def test_lists_agree_element_by_element(name: str, to: ValueType, data: st.DataObject) -> None:
    dtype, values = SOURCES[name]
    items = data.draw(st.lists(st.none() | st.lists(st.none() | values, max_size=4), min_size=1, max_size=20))
    answer = coerce(pl.Series("c", items, pl.List(dtype)), to)
    assert answer.values.dtype == polars_type(to)
    failed = [False] * len(items) if answer.failed is None else answer.failed.to_list()
    for item, value, bad in zip(items, answer.values, failed, strict=True):
        if item is None:
            assert (value, bad) == (None, False)
            continue
        expected = [None if element is None else oracle(element, name, to.element) for element in item]
        assert bad == (REFUSED in expected)
        if bad:
            assert value is None
        else:
            wanted = [micros_of(e) for e in expected] if to is ValueType.UNIX_TIMESTAMP_LIST else expected
            assert all(same(a, b) for a, b in zip(plain(value, to.element), wanted, strict=True))


@given(ticks=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
def test_nanoseconds_round_away_from_a_leak(ticks: list[int]) -> None:
    series = pl.Series("t", ticks).cast(pl.Datetime("ns"))
    up = coerce(series, ValueType.UNIX_TIMESTAMP).values.dt.epoch("us").to_list()
    down = coerce(series, ValueType.UNIX_TIMESTAMP, finer="down").values.dt.epoch("us").to_list()
    assert up == [-(-tick // 1000) for tick in ticks]
    assert down == [tick // 1000 for tick in ticks]


NOTHING: list[Callable[[], pl.Series]] = [
    lambda: pl.Series("c", [None, None]),
    lambda: pl.Series("c", [], pl.String),
    lambda: pl.Series("c", [None], pl.Struct({"a": pl.Int64})),
    lambda: pl.Series("c", [None], pl.Duration("us")),
]


@pytest.mark.parametrize("to", [to for to in ValueType if to is not ValueType.UNKNOWN], ids=lambda to: to.name)
@pytest.mark.parametrize("make", NOTHING)
def test_null_is_a_value_of_every_type(make: Callable[[], pl.Series], to: ValueType) -> None:
    answer = coerce(make(), to)
    assert answer.failed is None
    assert answer.values.dtype == polars_type(to)
    assert answer.values.null_count() == len(answer.values)


@pytest.mark.parametrize(
    ("values", "to"),
    [
        (pl.Series([timedelta(1)]), ValueType.INT64),
        (pl.Series([{"a": 1}]), ValueType.STRING),
        (pl.Series([[1]]), ValueType.INT64),
        (pl.Series([1]), ValueType.INT64_LIST),
        (pl.Series([[[1]]]), ValueType.INT64_LIST),
        (pl.Series([["1"]]), ValueType.INT64_LIST),
    ],
)
def test_refused_shapes_say_so(values: pl.Series, to: ValueType) -> None:
    answer = coerce(values, to)
    assert answer.failed is not None
    assert answer.failed.to_list() == [True]
    assert to.element.name in answer.reason
    assert coercion(pl.col(values.name), values.dtype, to).refused


def test_empty_lists_and_arrays() -> None:
    assert coerce(pl.Series([[], None]), ValueType.INT32_LIST).values.to_list() == [[], None]
    assert coerce(pl.Series([[None]]), ValueType.STRING_LIST).values.to_list() == [[None]]
    array = pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2))
    assert coerce(array, ValueType.DOUBLE_LIST).values.to_list() == [[1.0, 2.0]]


def test_an_expression_that_fails_on_no_row_is_exact() -> None:
    assert coercion(pl.col("a"), pl.Int32(), ValueType.INT64).failed is None
    assert coercion(pl.col("a"), pl.Int64(), ValueType.INT32).failed is not None
