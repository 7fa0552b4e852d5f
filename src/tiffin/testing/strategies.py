"""Generated histories for engines: hypothesis chooses a shape and a seed, the rows follow from these.

Keys and instants come from small sets, so that ties, duplicates, late rows and exact bounds are common; values come
from pools of what is easily damaged on the way. One case holds hundreds of rows, so that slow engines can run many.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import polars as pl
from hypothesis import strategies as st

from tiffin.clock import to_micros
from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN, Column, TableSchema
from tiffin.definitions.source import FileSource
from tiffin.types import ValueType, polars_type

_SINGLE: Final = struct.unpack("f", struct.pack("f", 0.1))[0]
_NAN: Final = float("nan")
_INFINITY: Final = float("inf")

#: Values of each scalar type that are easily damaged.
VALUES: Final[dict[ValueType, list[Any]]] = {
    ValueType.BYTES: [b"", b"\x00\xff", b"x" * 70, b"a"],
    ValueType.STRING: ["", "a", "žluť", "a\x00b", "x" * 40, " "],
    ValueType.INT32: [0, 1, -1, -(2**31), 2**31 - 1],
    ValueType.INT64: [0, 1, 2**53 + 1, -(2**63), 2**63 - 1],
    ValueType.DOUBLE: [_NAN, 0.1, 0.0, -0.0, _INFINITY, -_INFINITY, 5e-324],
    ValueType.FLOAT: [_SINGLE, _NAN, 0.0, -0.0, _INFINITY, -_INFINITY],
    ValueType.BOOL: [True, False],
    ValueType.UNIX_TIMESTAMP: [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(2026, 9, 1, tzinfo=UTC)],
}
#: Every type of a feature.
FEATURE_TYPES: Final = [each for each in ValueType if each is not ValueType.UNKNOWN]
#: Every type of a key.
KEY_TYPES: Final = [
    ValueType.INT64,
    ValueType.STRING,
    ValueType.INT32,
    ValueType.BYTES,
    ValueType.BOOL,
    ValueType.UNIX_TIMESTAMP,
]
#: The midnight around which events lie.
MIDNIGHT: Final = to_micros("2026-09-02")
_DAY: Final = 86_400_000_000


class Shape(msgspec.Struct, frozen=True):
    """What a history is like.

    ``unit`` and ``zone`` are those of its times as stored, ``step`` the microseconds between neighbouring instants and
    ``instants`` how many there are: few of them make many ties.
    """

    seed: int
    keys: tuple[ValueType, ...] = (ValueType.INT64,)
    features: tuple[ValueType, ...] = (ValueType.DOUBLE,)
    unit: str = "us"
    zone: str | None = "UTC"
    step: int = 1
    instants: int = 12
    key_count: int = 20
    rows: int = 300
    asked: int = 500
    files: int = 3
    created: bool = True
    stamped: bool = False
    deletions: bool = False
    max_age: int | None = None


class Case(msgspec.Struct, frozen=True):
    """One history: the files of a table as they are stored, its schema but for the place, and rows that ask of it."""

    schema: TableSchema
    files: tuple[pl.DataFrame, ...]
    entities: pl.DataFrame


@st.composite
def shapes(draw: st.DrawFn, *, created: bool | None = None, rows: int = 300, asked: int = 500) -> Shape:
    """Any shape; ``created`` fixes whether there is a created column."""
    unit = draw(st.sampled_from(["us", "ns", "ms"]))
    step = draw(st.sampled_from([1_000, 1_000_000, 3_600_000_000] + ([] if unit == "ms" else [1])))
    return Shape(
        seed=draw(st.integers(0, 2**32 - 1)),
        keys=tuple(draw(st.lists(st.sampled_from(KEY_TYPES), min_size=1, max_size=3))),
        features=tuple(draw(st.lists(st.sampled_from(FEATURE_TYPES), min_size=1, max_size=4))),
        unit=unit,
        zone=draw(st.sampled_from([None, "UTC", "America/New_York", "Asia/Kathmandu"])),
        step=step,
        instants=draw(st.sampled_from([12, 1, 3, 200])),
        key_count=draw(st.sampled_from([40, 5, 1])),
        rows=rows if draw(st.integers(0, 7)) else draw(st.integers(0, 1)),
        asked=asked,
        files=draw(st.integers(1, 4)),
        created=draw(st.booleans()) if created is None else created,
        stamped=draw(st.booleans()),
        deletions=draw(st.booleans()),
        max_age=draw(st.sampled_from([None, step, 3 * step, 1_000 * step])),
    )


def cases(**fixed: Any) -> st.SearchStrategy[Case]:
    """Cases of any shape, or of those that :func:`shapes` is told."""
    return shapes(**fixed).map(build)


def build(shape: Shape, name: str = "history") -> Case:
    """The case that a shape describes, always the same."""
    chance = random.Random(shape.seed)  # noqa: S311  # data for tests
    keys = _key_pool(chance, shape)
    columns = _history(chance, shape, keys)
    files = _split(chance, shape, columns)
    return Case(_schema(shape, name), files, _entities(chance, shape, keys))


def value(chance: random.Random, dtype: ValueType) -> Any:
    """A value of a type, null one time in six."""
    if chance.random() < 1 / 6:
        return None
    if dtype.is_list:
        return [value(chance, dtype.element) for _ in range(chance.choice([0, 1, 3]))]
    return chance.choice(VALUES[dtype])


def _key_pool(chance: random.Random, shape: Shape) -> list[tuple[Any, ...]]:
    """Keys, of which some hold a null and can never match."""
    return [
        tuple(None if chance.random() < 1 / 20 else _key(chance, dtype, shape.key_count) for dtype in shape.keys)
        for _ in range(shape.key_count)
    ]


def _key(chance: random.Random, dtype: ValueType, count: int) -> Any:
    number = chance.randrange(2 * count)
    match dtype:
        case ValueType.STRING:
            return chance.choice(VALUES[dtype]) + str(number)
        case ValueType.BYTES:
            return chance.choice(VALUES[dtype]) + str(number).encode()
        case ValueType.INT32 | ValueType.INT64:
            return chance.choice([number, -number, chance.choice(VALUES[dtype])])
        case _:
            return chance.choice(VALUES[dtype])


def _instant(chance: random.Random, shape: Shape) -> int:
    return MIDNIGHT + shape.step * chance.randrange(-shape.instants, shape.instants + 1)


def _history(chance: random.Random, shape: Shape, keys: Sequence[tuple[Any, ...]]) -> list[pl.Series]:
    picked = [chance.choice(keys) for _ in range(shape.rows)]
    columns = [pl.Series(f"k{i}", [key[i] for key in picked], polars_type(dtype)) for i, dtype in enumerate(shape.keys)]
    events = [None if chance.random() < 1 / 50 else _instant(chance, shape) for _ in picked]
    columns.append(_times("event", events, shape))
    if shape.created:
        created = [None if chance.random() < 1 / 10 else _instant(chance, shape) for _ in picked]
        columns.append(_times("created", created, shape))
    if shape.deletions:
        columns.append(pl.Series("gone", [chance.choice([True, False, False, None]) for _ in picked], pl.Boolean))
    for i, dtype in enumerate(shape.features):
        columns.append(pl.Series(f"f{i}", [value(chance, dtype) for _ in picked], polars_type(dtype)))
    return columns


def _times(name: str, instants: Sequence[int | None], shape: Shape) -> pl.Series:
    """Instants as they are stored: a nanosecond below the microsecond now and then, where the unit allows it."""
    series = pl.Series(name, instants, pl.Int64)
    if shape.unit == "ns":
        series = series * 1_000 - pl.Series([i % 7 * 100 for i in range(len(series))], dtype=pl.Int64)
    elif shape.unit == "ms":
        series = series // 1_000
    unit: Any = shape.unit
    return series.cast(pl.Datetime(unit, shape.zone)).alias(name)


def _split(chance: random.Random, shape: Shape, columns: list[pl.Series]) -> tuple[pl.DataFrame, ...]:
    whole = pl.DataFrame(columns)
    cuts = sorted(chance.randrange(shape.rows + 1) for _ in range(shape.files - 1))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, shape.rows], strict=True)]
    if not shape.stamped:
        return tuple(parts)
    order = chance.sample(range(len(parts)), len(parts))  # a commit's age does not follow its file's name
    return tuple(stamped(part, MIDNIGHT + order[i] * 1_000) for i, part in enumerate(parts))


def stamped(rows: pl.DataFrame, instant: int) -> pl.DataFrame:
    """Rows with the columns that a commit of Tiffin adds."""
    return rows.with_columns(
        pl.lit(instant, pl.Int64).cast(pl.Datetime("us", "UTC")).alias(INGESTED_AT_COLUMN),
        pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW_COLUMN),
    )


def _schema(shape: Shape, name: str) -> TableSchema:
    return TableSchema(
        project="default",
        name=name,
        keys=tuple(Column(f"k{i}", dtype, f"k{i}") for i, dtype in enumerate(shape.keys)),
        features=tuple(Column(f"f{i}", dtype, f"f{i}") for i, dtype in enumerate(shape.features)),
        source=FileSource("event", ParquetFormat(), "nowhere", "created" if shape.created else ""),
        max_age=shape.max_age,
        deleted_column="gone" if shape.deletions else "",
    )


def _entities(chance: random.Random, shape: Shape, keys: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows that ask: known and unknown keys at the events' instants, a bound away from them, and beside both."""
    others = _key_pool(chance, shape)
    picked = [chance.choice(keys if chance.random() < 0.9 else others) for _ in range(shape.asked)]
    instants: list[int | None] = []
    for _ in picked:
        away = chance.choice([0, 0, shape.max_age or 0, _DAY]) + chance.choice([0, 0, 1, -1])
        instants.append(None if chance.random() < 1 / 30 else _instant(chance, shape) + away)
    columns = [
        pl.Series("label", range(shape.asked), pl.Int64),
        *(pl.Series(f"k{i}", [key[i] for key in picked], polars_type(dtype)) for i, dtype in enumerate(shape.keys)),
        pl.Series("event_timestamp", instants, pl.Int64).cast(pl.Datetime("us", "UTC")),
    ]
    return pl.DataFrame(columns)
