"""Keys given by callers are coerced to the entity's registered type, or refused by name."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument
from tiffin.online.keys import Coercion, KeyEncoder
from tiffin.types import ValueType as V

ACCEPTED: list[tuple[V, Any, Any]] = [
    (V.INT64, 1001, 1001),
    (V.INT64, "1001", 1001),
    (V.INT64, "-7", -7),
    (V.INT64, "+7", 7),
    (V.INT64, 1001.0, 1001),
    (V.INT64, np.float64(3.0), 3),
    (V.INT64, np.int8(-3), -3),
    (V.INT64, np.uint64(2**63 - 1), 2**63 - 1),
    (V.INT64, -(2**63), -(2**63)),
    (V.INT64, 2.0**53, 2**53),
    (V.INT32, np.int64(2**31 - 1), 2**31 - 1),
    (V.INT32, "-2147483648", -(2**31)),
    (V.STRING, "x", "x"),
    (V.STRING, "", ""),
    (V.STRING, np.str_("x"), "x"),
    (V.BYTES, b"\0", b"\0"),
    (V.BYTES, bytearray(b"a"), b"a"),
    (V.BYTES, memoryview(b"a"), b"a"),
    (V.BYTES, np.bytes_(b"a"), b"a"),
    (V.BOOL, True, True),
    (V.BOOL, np.bool_(False), False),
    (V.BOOL, "true", True),
    (V.BOOL, "FALSE", False),
    (V.UNIX_TIMESTAMP, datetime(1970, 1, 1, 0, 0, 1), 1_000_000),  # noqa: DTZ001  # naive on purpose
    (V.UNIX_TIMESTAMP, datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
    (V.UNIX_TIMESTAMP, date(1970, 1, 2), 86_400_000_000),
    (V.UNIX_TIMESTAMP, "1970-01-01T00:00:00Z", 0),
    (V.UNIX_TIMESTAMP, 5, 5_000_000),
    (V.UNIX_TIMESTAMP, np.int64(5), 5_000_000),
    (V.UNIX_TIMESTAMP, np.datetime64("1970-01-01T00:00:00.000001999", "ns"), 1),
    (V.UNIX_TIMESTAMP, pd.Timestamp("1970-01-01", tz=UTC), 0),
]

REFUSED: list[tuple[V, Any]] = [
    (V.INT64, 1.5),
    (V.INT64, "1.5"),
    (V.INT64, "1001 "),
    (V.INT64, "٣"),
    (V.INT64, ""),
    (V.INT64, True),
    (V.INT64, np.bool_(True)),
    (V.INT64, math.inf),
    (V.INT64, 2**63),
    (V.INT64, "9223372036854775808"),
    (V.INT64, 2.0**53 + 2),
    (V.INT64, [1]),
    (V.INT64, b"1"),
    (V.INT32, 2**31),
    (V.INT32, -(2**31) - 1),
    (V.STRING, 1001),
    (V.STRING, b"x"),
    (V.BYTES, "x"),
    (V.BOOL, 1),
    (V.BOOL, "yes"),
    (V.UNIX_TIMESTAMP, 1.5),
    (V.UNIX_TIMESTAMP, True),
    (V.UNIX_TIMESTAMP, "yesterday"),
    (V.UNIX_TIMESTAMP, 2**70),
    (V.UNIX_TIMESTAMP, np.array([1, 2])),
]

NULLS = [None, math.nan, np.float32("nan"), np.datetime64("NaT"), pd.NaT, pd.NA]


@pytest.mark.parametrize(("dtype", "given", "expected"), ACCEPTED)
def test_accepted(dtype: V, given: Any, expected: Any) -> None:
    coercion = Coercion(Column("k", dtype, "k"))
    for column in ([given], [None, given]):
        found = coercion.column(column)[-1]
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize(("dtype", "given"), REFUSED)
def test_refused(dtype: V, given: Any) -> None:
    coercion = Coercion(Column("k", dtype, "k"))
    with pytest.raises(InvalidArgument) as caught:
        coercion.column([None, given])
    assert caught.value.hint


@pytest.mark.parametrize("dtype", [V.INT32, V.INT64, V.STRING, V.BYTES, V.BOOL, V.UNIX_TIMESTAMP])
def test_what_is_missing_is_a_null_key(dtype: V) -> None:
    column = Column("k", dtype, "k")
    coerced = Coercion(column).column(NULLS)
    assert coerced == [None] * len(NULLS)
    assert KeyEncoder((column,)).encode([coerced]) == [None] * len(NULLS)


def test_a_key_with_one_null_is_null() -> None:
    encoder = KeyEncoder((Column("a", V.INT64, "a"), Column("b", V.STRING, "b")))
    assert [key is None for key in encoder.encode([[1, None, 1, 0], ["x", "x", None, ""]])] == [0, 1, 1, 0]


def test_a_column_out_of_range_is_refused_by_its_value() -> None:
    with pytest.raises(InvalidArgument, match="'k' is INT32, which 2147483648 is not"):
        Coercion(Column("k", V.INT32, "k")).column([1, 2**31, 2])


def test_half_a_surrogate_is_refused() -> None:
    column = Column("k", V.STRING, "k")
    with pytest.raises(InvalidArgument, match="not a Unicode text"):
        KeyEncoder((column,)).encode([["\ud800"]])


def test_columns_of_numpy_pandas_and_polars_are_read() -> None:
    import polars as pl

    coercion = Coercion(Column("k", V.INT64, "k"))
    for column in (np.array([1, 2]), pd.Series([1, 2]), pl.Series([1, 2]), (1, 2), pd.array([1, 2], dtype="Int64")):
        assert coercion.column(column) == [1, 2]
    assert coercion.column(pd.Series([1, None])) == [1, None]
    assert coercion.column(pl.Series([1, None])) == [1, None]
