"""The bytes of keys and values: fixed for ever by vectors, and read back by an independent decoder."""

from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online import naive
from tests.online.tables import frame, table
from tiffin.clock import to_datetime
from tiffin.definitions.schema import CREATED_TS, DELETED, EVENT_TS, Column
from tiffin.errors import CorruptData, InvalidData
from tiffin.online.codec import encode_frame, encode_keys
from tiffin.online.decode import Decoder
from tiffin.online.keys import Coercion, KeyEncoder
from tiffin.online.layout import Layout, event_time, is_tombstone
from tiffin.types import ValueType as V

SCALARS = {
    V.BYTES: st.binary(max_size=12),
    V.STRING: st.text(max_size=12),
    V.INT32: st.integers(-(2**31), 2**31 - 1),
    V.INT64: st.integers(-(2**63), 2**63 - 1),
    V.DOUBLE: st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0]),
    V.FLOAT: st.floats(width=32),
    V.BOOL: st.booleans(),
    V.UNIX_TIMESTAMP: st.integers(-(2**62), 2**62),
}
TYPES = [dtype for dtype in V if dtype is not V.UNKNOWN]
RANKS = st.none() | st.integers(-(2**63) + 1, 2**63 - 1)


def values_of(dtype: V) -> st.SearchStrategy[Any]:
    """Values of a type, some null, some lists empty or with nulls."""
    if not dtype.is_list:
        return st.none() | SCALARS[dtype]
    return st.none() | st.lists(st.none() | SCALARS[dtype.element], max_size=10)


@st.composite
def rows_of_any_layout(draw: st.DrawFn) -> tuple[dict[str, V], list[dict[str, Any]]]:
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=20))
    features = {f"f{position}": dtype for position, dtype in enumerate(types)}
    row = st.fixed_dictionaries(
        {name: values_of(dtype) for name, dtype in features.items()}
        | {"driver_id": SCALARS[V.INT64], "event": st.integers(-(2**63) + 1, 2**63 - 1), "deleted": st.booleans()}
        | {"created": RANKS, "ingested": RANKS, "row": RANKS}
    )
    return features, draw(st.lists(row, max_size=6))


def bits(value: Any, dtype: V) -> Any:
    """A value with its floats as the bits they have in their width."""
    if value is None:
        return None
    if dtype.is_list:
        return [bits(item, dtype.element) for item in value]
    if dtype is V.DOUBLE:
        return int.from_bytes(struct.pack(">d", value), "big")
    if dtype is V.FLOAT:
        return int.from_bytes(np.float32(value).tobytes()[::-1], "big")
    return value


@given(rows_of_any_layout())
def test_every_type_comes_back_bit_for_bit(case: tuple[dict[str, V], list[dict[str, Any]]]) -> None:
    features, rows = case
    schema = table(features)
    layout = Layout.of(schema.features)
    encoded = encode_frame(schema, 3, frame(schema, rows))
    assert len(encoded) == len(rows)
    for (key, value), row in zip(encoded, rows, strict=True):
        assert key[4:] == struct.pack(">q", row["driver_id"])
        found = naive.decode_value(value, [[], [], [], layout.features])
        assert found["rank"] == [row["event"], row["created"], row["ingested"], row["row"]]
        assert found["deleted"] == row["deleted"]
        assert event_time(value) == row["event"]
        assert is_tombstone(value) == row["deleted"]
        if not row["deleted"]:
            assert {name: found[name] for name in features} == {
                name: bits(row[name], dtype) for name, dtype in features.items()
            }


@given(rows_of_any_layout(), st.data())
def test_the_decoder_agrees_with_the_independent_one(
    case: tuple[dict[str, V], list[dict[str, Any]]], data: st.DataObject
) -> None:
    features, rows = case
    live = [row for row in rows if not row["deleted"]]
    if not live:
        return
    schema = table(features)
    layout = Layout.of(schema.features)
    values = [value for _, value in encode_frame(schema, 0, frame(schema, live))]
    wanted = data.draw(st.permutations(schema.features))[: data.draw(st.integers(1, len(features)))]
    events, columns, nulls = Decoder(layout, wanted).columns(values)
    expected = [naive.decode_value(value, [layout.features]) for value in values]
    assert events == [found["rank"][0] for found in expected]
    for position, column in enumerate(wanted):
        seen = [found[column.name] for found in expected]
        assert [bits(value, column.dtype) for value in columns[position]] == seen
        assert (nulls[position] if nulls else []) == [row for row, value in enumerate(seen) if value is None]


@given(st.lists(st.tuples(RANKS, RANKS, RANKS, RANKS), min_size=2, max_size=8))
def test_the_bytes_of_a_rank_sort_as_the_rank_does(ranks: list[tuple[int | None, ...]]) -> None:
    schema = table({"f": V.BOOL})
    rows = [
        {"driver_id": 1, "event": rank[0] or 0, "created": rank[1], "ingested": rank[2], "row": rank[3]}
        for rank in ranks
    ]
    encoded = [value[:32] for _, value in encode_frame(schema, 0, frame(schema, rows))]
    plain = [tuple(-(2**63) if part is None else part for part in (rank[0] or 0, *rank[1:])) for rank in ranks]
    assert [encoded.index(value) for value in sorted(encoded)] == [plain.index(rank) for rank in sorted(plain)]


@pytest.mark.parametrize("payload", [0x7FF8_0000_0000_0000, 0x7FF0_0000_0000_0001, 0xFFFF_FFFF_FFFF_FFFF])
def test_the_payload_of_a_nan_is_stored(payload: int) -> None:
    schema = table({"d": V.DOUBLE, "f": V.FLOAT})
    doubles = np.array([payload, 1 << 63], dtype="u8").view("f8")
    floats = np.array([0x7FC0_0123, 0xFF80_0001], dtype="u4").view("f4")
    made = frame(schema, [{"driver_id": 1, "event": 0}, {"driver_id": 2, "event": 0}])
    made = made.with_columns(pl.Series("d", doubles), pl.Series("f", floats))
    found = [
        naive.decode_value(value, [Layout.of(schema.features).features]) for _, value in encode_frame(schema, 0, made)
    ]
    assert [row["d"] for row in found] == [payload, 1 << 63]
    assert [row["f"] for row in found] == [0x7FC0_0123, 0xFF80_0001]


def test_minus_zero_and_infinities_are_read_as_they_were() -> None:
    schema = table({"d": V.DOUBLE, "f": V.FLOAT, "l": V.FLOAT_LIST})
    numbers = [-0.0, 0.0, math.inf, -math.inf]
    rows = [{"driver_id": 1, "event": 0, "d": number, "f": number, "l": [number, None]} for number in numbers]
    values = [value for _, value in encode_frame(schema, 0, frame(schema, rows))]
    _, columns, nulls = Decoder(Layout.of(schema.features), schema.features).columns(values)
    assert nulls is None
    assert [math.copysign(1, number) for number in columns[0]] == [-1, 1, 1, -1]
    assert list(columns[0]) == list(columns[1]) == [items[0] for items in columns[2]] == numbers
    assert math.copysign(1, columns[1][0]) == math.copysign(1, columns[2][0][0]) == -1


# Keys

INSTANTS = st.integers(-(10**15), 10**15)
KEY_TYPES = [V.INT32, V.INT64, V.STRING, V.BYTES, V.BOOL, V.UNIX_TIMESTAMP]


@given(st.data())
def test_keys_are_injective_and_requests_make_the_same(data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(KEY_TYPES), min_size=1, max_size=4))
    names = data.draw(st.permutations(["a", "b", "c", "d"]))[: len(types)]
    keys = dict(zip(names, types, strict=True))
    schema = table({"f": V.BOOL}, keys)
    small = {V.STRING: st.text("a\0é", max_size=4), V.BYTES: st.binary(max_size=3), V.UNIX_TIMESTAMP: INSTANTS}
    row = st.tuples(*(small.get(dtype, SCALARS[dtype]) for dtype in types))
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    made = frame(schema, [{**dict(zip(names, values, strict=True)), "event": 0} for values in rows])
    encoded = encode_keys(schema.keys, made)
    assert len(set(encoded)) == len(set(rows))
    encoder = KeyEncoder(schema.keys)
    by_name = {
        # A request gives a timestamp as a datetime: a whole number would be seconds.
        name: [to_datetime(value) for value in column] if dtype is V.UNIX_TIMESTAMP else column
        for name, dtype, column in zip(names, types, zip(*rows, strict=True), strict=True)
    }
    coercions = {column.name: Coercion(column) for column in schema.keys}
    assert encoder.names == tuple(sorted(names))
    assert encoder.encode([coercions[name].column(by_name[name]) for name in encoder.names]) == encoded


def test_keys_do_not_depend_on_the_order_of_entities() -> None:
    one = table({"f": V.BOOL}, {"b": V.STRING, "a": V.INT32})
    other = table({"f": V.BOOL}, {"a": V.INT32, "b": V.STRING})
    row = {"a": 1, "b": "x", "event": 0}
    assert encode_keys(one.keys, frame(one, [row])) == encode_keys(other.keys, frame(other, [row]))


def test_keys_of_other_entities_are_apart() -> None:
    tables = [
        table({"f": V.BOOL}, {"a": V.INT64}),
        table({"f": V.BOOL}, {"b": V.INT64}),
        table({"f": V.BOOL}, {"a": V.INT32}),
        table({"f": V.BOOL}, {"a": V.UNIX_TIMESTAMP}),
    ]
    keys = [encode_keys(t.keys, frame(t, [{t.key_names[0]: 1, "event": 0}]))[0] for t in tables]
    assert len(set(keys)) == len({key[:4] for key in keys}) == 4


# What is refused


def test_null_keys_and_event_times_are_refused() -> None:
    schema = table({"f": V.BOOL})
    for row in ({"event": 0}, {"driver_id": 1}):
        with pytest.raises(InvalidData, match="cannot be stored online"):
            encode_frame(schema, 0, frame(schema, [row]))


def test_columns_of_another_type_are_refused() -> None:
    schema = table({"f": V.INT32})
    made = frame(schema, [{"driver_id": 1, "event": 0, "f": 1}])
    for broken in (made.with_columns(pl.col("f").cast(pl.Int64)), made.drop("f")):
        with pytest.raises(InvalidData, match="'f' of default/drivers must be Int32"):
            encode_frame(schema, 0, broken)


def test_an_instant_that_would_look_like_a_null_is_refused() -> None:
    schema = table({"f": V.INT32})
    with pytest.raises(InvalidData, match="before all time"):
        encode_frame(schema, 0, frame(schema, [{"driver_id": 1, "event": -(2**63)}]))


def test_columns_of_the_rank_may_be_missing() -> None:
    schema = table({"f": V.INT32})
    made = frame(schema, [{"driver_id": 1, "event": 5, "created": 1}]).drop(CREATED_TS, DELETED)
    [(_, value)] = encode_frame(schema, 0, made)
    assert naive.decode_value(value, [Layout.of(schema.features).features])["rank"] == [5, None, None, None]
    assert encode_frame(schema, 0, made.clear()) == []
    with pytest.raises(InvalidData, match="event_ts"):
        encode_frame(schema, 0, made.drop(EVENT_TS))


# Layouts


def test_layouts_are_read_back() -> None:
    layout = Layout(tuple((f"f{number}", dtype) for number, dtype in enumerate(TYPES)))
    assert Layout.from_bytes(layout.to_bytes()) == layout
    assert Layout((("a", V.INT32),)).to_bytes() == b'{"version":1,"features":[["a","INT32"]]}'


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"version":2,"features":[]}', b'{"version":1,"features":[["a","NUMBER"]]}', b'{"version":1}'],
)
def test_other_bytes_are_no_layout(data: bytes) -> None:
    with pytest.raises(CorruptData, match="layout"):
        Layout.from_bytes(data)


def test_a_value_cut_short_is_corrupt() -> None:
    schema = table({"s": V.STRING, "l": V.INT64_LIST})
    layout = Layout.of(schema.features)
    [(_, value)] = encode_frame(schema, 0, frame(schema, [{"driver_id": 1, "event": 0, "s": "é", "l": [1, 2]}]))
    decoder = Decoder(layout, schema.features)
    for cut in (value[:40], value[:-1], value[: -4 - 16 - 1]):
        with pytest.raises(CorruptData, match="cannot be read"):
            decoder.columns([cut])


# Golden vectors: a difference here is a change of format, which needs a new version of it.


def test_the_format_of_keys_is_fixed() -> None:
    names = (Column("b", V.STRING, "b"), Column("a", V.INT64, "a"))
    schema = table({"f": V.BOOL}, {"b": V.STRING, "a": V.INT64})
    signature = blake2b(b"a:INT64\nb:STRING", digest_size=4).digest()
    [key] = encode_keys(names, frame(schema, [{"a": -2, "b": "é", "event": 0}]))
    assert key == signature + bytes.fromhex("fffffffffffffffe c3a9")
    assert signature.hex() == "7636a6fc"


EVERY_TYPE = {
    "by": V.BYTES,
    "s": V.STRING,
    "i": V.INT32,
    "l": V.INT64,
    "d": V.DOUBLE,
    "f": V.FLOAT,
    "b": V.BOOL,
    "t": V.UNIX_TIMESTAMP,
    "byl": V.BYTES_LIST,
    "sl": V.STRING_LIST,
    "il": V.INT32_LIST,
    "ll": V.INT64_LIST,
    "dl": V.DOUBLE_LIST,
    "fl": V.FLOAT_LIST,
    "bl": V.BOOL_LIST,
    "tl": V.UNIX_TIMESTAMP_LIST,
}
FULL = {
    "driver_id": 1001,
    "event": 1,
    "created": -1,
    "ingested": None,
    "row": 0,
    "by": b"\0\xff",
    "s": "é",
    "i": -2,
    "l": 2**40,
    "d": -0.0,
    "f": 1.5,
    "b": True,
    "t": -1,
    "byl": [b"a", b""],
    "sl": ["x", None, "yz"],
    "il": [1, -1],
    "ll": [],
    "dl": [math.inf],
    "fl": [None, 1.5],
    "bl": [True, None, False],
    "tl": [0],
}
FULL_HEX = """
    8000000000000001 7fffffffffffffff 0000000000000000 8000000000000000
    01 00 00000102
    0000
    00000002 00000004 fffffffe 0000010000000000 8000000000000000 3fc00000 01 ffffffffffffffff
    00000011 00000025 00000031 00000035 00000041 0000004e 00000056 00000062
    00ff c3a9
    00000002 00000001 00000001 61
    80000003 02 00000001 00000001 00000003 78797a
    00000002 00000001 ffffffff
    00000000
    00000001 7ff0000000000000
    80000002 01 00000000 3fc00000
    80000003 02 01 00 00
    00000001 0000000000000000
"""
NULLS_HEX = (
    """
    8000000000000000 0000000000000000 0000000000000000 0000000000000000
    01 00 00000102
    ffff
    """
    + "00" * (4 + 4 + 4 + 8 + 8 + 4 + 1 + 8 + 8 * 4)
)
TOMBSTONE_HEX = """
    9000000000000000 9000000000000000 8000000000000003 8000000000000007
    01 01 00000102
"""


def test_the_format_of_values_is_fixed() -> None:
    schema = table(EVERY_TYPE)
    rank = 2**60
    rows = [
        FULL,
        {"driver_id": -1, "event": 0},
        {"driver_id": 0, "event": rank, "created": rank, "ingested": 3, "row": 7, "deleted": True},
    ]
    encoded = encode_frame(schema, 258, frame(schema, rows))
    assert [key.hex() for key, _ in encoded] == [
        "c5d6f9c4" + "00000000000003e9",
        "c5d6f9c4" + "ffffffffffffffff",
        "c5d6f9c4" + "0000000000000000",
    ]
    assert [value for _, value in encoded] == [bytes.fromhex(text) for text in (FULL_HEX, NULLS_HEX, TOMBSTONE_HEX)]


def test_the_fixed_format_is_read() -> None:
    schema = table(EVERY_TYPE)
    values = [bytes.fromhex(text) for text in (FULL_HEX, NULLS_HEX)]
    events, columns, nulls = Decoder(Layout.of(schema.features), schema.features).columns(values)
    assert events == [1, 0]
    assert [list(column) for column in columns] == [[FULL[name], None] for name in EVERY_TYPE]
    assert nulls == [[1]] * len(EVERY_TYPE)
