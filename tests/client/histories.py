"""Generated histories: batches of rows over few keys and few instants, so that ties and late rows are common.

Hypothesis chooses keys, instants and one number a row; the values of all features follow from that number, out of
pools of values that are easily damaged on the way: extremes, NaN, signed zero, empty and null, each in every type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import polars as pl
from hypothesis import strategies as st

from tiffin import Entity, Feature, ValueType
from tiffin.types import polars_type

SINGLE: Final = struct.unpack("f", struct.pack("f", 0.1))[0]
BIG: Final = 2**53 + 1
NAN: Final = float("nan")

POOLS: Final[dict[ValueType, list[Any]]] = {
    ValueType.BYTES: [b"", b"\x00\xff", None, b"x" * 70],
    ValueType.STRING: ["", None, "žluť", "a\x00b", "x" * 40],
    ValueType.INT32: [0, -(2**31), None, 2**31 - 1],
    ValueType.INT64: [BIG, None, -(2**63), 2**63 - 1, 0],
    ValueType.DOUBLE: [NAN, 0.1, None, -0.0, float("-inf"), 5e-324],
    ValueType.FLOAT: [SINGLE, None, NAN, -0.0, float("inf")],
    ValueType.BOOL: [True, None, False],
    ValueType.UNIX_TIMESTAMP: [0, None, -1, 1_700_000_000_123_456],
    ValueType.BYTES_LIST: [[b"", b"\x00"], None, [], [None]],
    ValueType.STRING_LIST: [[], ["", "ž", None], None],
    ValueType.INT32_LIST: [None, [2**31 - 1, None, 0], []],
    ValueType.INT64_LIST: [[BIG], [], None, [None, -1]],
    ValueType.DOUBLE_LIST: [[NAN, -0.0, None], None, []],
    ValueType.FLOAT_LIST: [[], [SINGLE, None], None],
    ValueType.BOOL_LIST: [[True, None, False], None, []],
    ValueType.UNIX_TIMESTAMP_LIST: [None, [-1, None], []],
}
FEATURES: Final = [Feature(f"f_{dtype.name.lower()}", dtype) for dtype in POOLS]

ENTITIES: Final = [Entity("number", value_type=ValueType.INT64), Entity("word", value_type=ValueType.STRING)]
#: The keys of generated rows; the last of each is in no row.
KEYS: Final[dict[tuple[str, ...], list[tuple[Any, ...]]]] = {
    ("number",): [(1,), (-(2**63),), (3,), (4,)],
    ("word",): [("",), ("a",), ("ž" * 300,), ("z",)],
    ("word", "number"): [("a", 1), ("a", 2), ("", 1), ("b", 9)],
}
#: Event times relative to the test's start; the last lies in the future.
AGES: Final = [timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=2), timedelta(days=5), timedelta(days=-1)]
MAX_AGES: Final = [None, timedelta(hours=1), timedelta(days=3)]


@dataclass
class Row:
    key: int
    age: int
    created: int | None
    deleted: bool
    variant: int


@dataclass
class History:
    """``seen`` tells after which batches the online store is brought up to date, beside the last."""

    entities: tuple[str, ...]
    batches: list[list[Row]]
    seen: list[bool]
    max_age: timedelta | None
    with_created: bool
    with_deleted: bool

    def frames(self, start: int) -> Iterator[pl.DataFrame]:
        """The batches as frames, around the instant ``start`` in UTC microseconds."""
        for rows in self.batches:
            yield self._frame(rows, start)

    def _frame(self, rows: list[Row], start: int) -> pl.DataFrame:
        instant = pl.Datetime("us", "UTC")
        keys = [KEYS[self.entities][row.key] for row in rows]
        columns = {
            name: pl.Series([key[at] for key in keys], dtype=KEY_TYPES[name]) for at, name in enumerate(self.entities)
        }
        columns["at"] = pl.Series([start - AGES[row.age] // MICROSECOND for row in rows], dtype=pl.Int64).cast(instant)
        if self.with_created:
            made = [None if row.created is None else start + row.created for row in rows]
            columns["made"] = pl.Series(made, dtype=pl.Int64).cast(instant)
        if self.with_deleted:
            columns["gone"] = pl.Series([row.deleted for row in rows], dtype=pl.Boolean)
        for at, feature in enumerate(FEATURES):
            pool = POOLS[feature.dtype]
            values = [pool[(row.variant * (at + 1) + at) % len(pool)] for row in rows]
            columns[feature.name] = _series(values, feature.dtype)
        return pl.DataFrame(columns)


KEY_TYPES: Final = {"number": pl.Int64(), "word": pl.String()}
MICROSECOND: Final = timedelta(microseconds=1)


def _series(values: list[Any], dtype: ValueType) -> pl.Series:
    if dtype.element is not ValueType.UNIX_TIMESTAMP:
        return pl.Series(values, dtype=polars_type(dtype))
    micros = pl.List(pl.Int64()) if dtype.is_list else pl.Int64()
    return pl.Series(values, dtype=micros).cast(polars_type(dtype))


_ROWS = st.builds(
    Row,
    key=st.integers(0, 2),
    age=st.integers(0, len(AGES) - 1),
    created=st.one_of(st.none(), st.integers(0, 1)),
    deleted=st.booleans(),
    variant=st.integers(0, 200),
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    batches = draw(st.lists(st.lists(_ROWS, min_size=1, max_size=12), min_size=1, max_size=3))
    return History(
        entities=draw(st.sampled_from(list(KEYS))),
        batches=batches,
        seen=draw(st.lists(st.booleans(), min_size=len(batches), max_size=len(batches))),
        max_age=draw(st.sampled_from(MAX_AGES)),
        with_created=draw(st.booleans()),
        with_deleted=draw(st.booleans()),
    )


def bits(value: Any) -> Any:
    """A value so that equal means the same to the bit: floats as their bytes, lists as tuples."""
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, list):
        return tuple(map(bits, value))
    return value
