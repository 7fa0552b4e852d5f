"""Messages of Avro, against what another implementation writes and reads."""

from __future__ import annotations

import datetime
import io
import itertools
import json
import math
import re
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.test_decode import messages, reasons
from tiffin.data_format import AvroFormat
from tiffin.errors import InvalidDefinition, TiffinError, Unsupported
from tiffin.stream.decode import Decoded, decoder

LONG = st.integers(-(2**63), 2**63 - 1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": LONG | st.integers(-100, 100),
    "float": st.floats(width=32),
    "double": st.floats(),
    "bytes": st.binary(max_size=20),
    "string": st.text(max_size=20),
}


def record(*fields: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in fields], **more}


def written(schema: dict[str, Any], *rows: dict[str, Any]) -> list[bytes]:
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    values = []
    for row in rows:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, parsed, row)
        values.append(buffer.getvalue())
    return values


def decoded(schema: dict[str, Any], *values: bytes, **options: Any) -> Decoded:
    return decoder(AvroFormat(json.dumps(schema)), **options).decode(messages(*values))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return isinstance(right, float) and (left == right or (math.isnan(left) and math.isnan(right)))
    return bool(left == right)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type and the values that it has."""
    kinds = ["scalar", "scalar", "scalar", "fixed", "enum", "nullable", "array"] + ["record", "map", "union"] * (
        depth > 0
    )
    kind = draw(st.sampled_from(kinds))
    name = "N"
    if kind == "fixed":
        size = draw(st.integers(0, 12))
        return {"type": "fixed", "name": name, "size": size}, st.binary(min_size=size, max_size=size)
    if kind == "enum":
        symbols = draw(st.lists(st.from_regex(r"\A[A-Z]{1,3}\Z"), min_size=1, max_size=4, unique=True))
        return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
    if kind == "nullable":
        inner = draw(st.sampled_from(sorted(_VALUES.keys() - {"null"})))
        null_first = draw(st.booleans())
        return ["null", inner] if null_first else [inner, "null"], st.none() | _VALUES[inner]
    if kind == "array":
        inner = draw(st.sampled_from(sorted(_VALUES.keys() - {"null"})))
        nullable = draw(st.booleans())
        values = _VALUES[inner] | st.none() if nullable else _VALUES[inner]
        return {"type": "array", "items": ["null", inner] if nullable else inner}, st.lists(values, max_size=5)
    if kind == "record":
        fields = [(f"f{number}", *draw(schemas(depth - 1))) for number in range(draw(st.integers(1, 3)))]
        schema = {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t, _ in fields]}
        return schema, st.fixed_dictionaries({n: values for n, _, values in fields})
    if kind == "map":
        inner, values = draw(schemas(depth - 1))
        return {"type": "map", "values": inner}, st.dictionaries(st.text(max_size=3), values, max_size=3)
    if kind == "union":
        return ["null", "string", "boolean"], st.none() | st.text(max_size=3) | st.booleans()
    scalar = draw(st.sampled_from(sorted(_VALUES)))
    return scalar, _VALUES[scalar]


def flat(row: dict[str, Any], way: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= flat(value, f"{way}{name}.")
        found[f"{way}{name}"] = value
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    fields = [(f"c{number}", *draw(schemas())) for number in range(draw(st.integers(1, 4)))]
    rows = draw(st.lists(st.fixed_dictionaries({n: values for n, _, values in fields}), max_size=6))
    return numbered(record(*((n, t) for n, t, _ in fields))), rows


def numbered(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a name of its own for each type that has one."""
    numbers = itertools.count()
    found: dict[str, Any] = json.loads(
        re.sub('"name": "N"', lambda _: f'"name": "N{next(numbers)}"', json.dumps(schema))
    )
    return found


@settings(max_examples=150)
@given(histories())
def test_every_value_is_read_as_it_was_written(history: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, rows = history
    values = written(schema, *rows)
    # A message that can also be read with a header is refused, so none may begin as one.
    schema["fields"].insert(0, {"name": "first", "type": "int"})
    found = decoded(schema, *(b"\x02" + value for value in values))
    assert found.failed == []
    for name in found.frame.columns:
        if name != "first":
            assert same(found.frame[name].to_list(), [flat(row).get(name) for row in rows]), name


@settings(max_examples=100)
@given(histories(), st.data())
def test_broken_bytes_never_end_a_stream(
    history: tuple[dict[str, Any], list[dict[str, Any]]], data: st.DataObject
) -> None:
    schema, rows = history
    schema["fields"].insert(0, {"name": "first", "type": "int"})
    good = written(schema, *({"first": 1} | row for row in rows))
    broken = []
    for value in good:
        at = data.draw(st.integers(0, len(value) - 1))
        how = data.draw(st.sampled_from(["cut", "flip", "add"]))
        byte = data.draw(st.binary(min_size=1, max_size=3))
        broken.append(
            value[:at] if how == "cut" else value + byte if how == "add" else value[:at] + byte + value[at + 1 :]
        )
    together = decoded(schema, *(value for pair in zip(good, broken, strict=True) for value in pair))
    assert not [place for place in reasons(together) if place % 2 == 0]
    alone = decoded(schema, *good)
    kept = together.frame.filter(together.positions % 2 == 0)
    assert kept.equals(alone.frame, null_equal=True) or kept.to_dicts().__repr__() == alone.frame.to_dicts().__repr__()
    for place in range(len(broken)):
        one = decoded(schema, broken[place])
        assert bool(one.failed) == (2 * place + 1 in reasons(together))


SIMPLE = record(("id", "long"), ("name", "string"), ("on", "boolean"), ("x", "double"))
ROW = {"id": 7, "name": "abc", "on": True, "x": 0.5}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "ends in the midst of id"),
        (b"\x80", "ends in the midst of id"),
        (b"\x80" * 9, "ends in the midst of id"),
        (b"\xff" * 10 + b"\x01", "id is a number of more than 64 bits"),
        (b"\xff" * 9 + b"\x02", "id is a number of more than 64 bits"),
        (b"\x0e", "ends in the midst of name"),
        (b"\x0e\x01", "name has a negative length"),
        (b"\x0e\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "ends in the midst of name"),
        (b"\x0e\x06ab", "ends in the midst of name"),
        (b"\x0e\x02\xff\x00" + b"\0" * 8, "name is not UTF-8"),
        (b"\x0e\x02a\x02" + b"\0" * 8, "on is neither true nor false"),
        (b"\x0e\x02a\x01" + b"\0" * 7, "ends in the midst of x"),
        (b"\x0e\x02a\x01" + b"\0" * 9, "1 more bytes follow"),
    ],
)
def test_what_is_wrong_with_a_message_is_told(value: bytes, reason: str) -> None:
    [good] = written(SIMPLE, ROW)
    found = decoded(SIMPLE, good, value, good)
    assert found.frame.to_dicts() == [ROW, ROW]
    assert reason in reasons(found)[1]


def test_the_longest_numbers() -> None:
    rows = [{"a": value} for value in (2**63 - 1, -(2**63), 2**55, -(2**55), 2**62, 0)]
    schema = record(("a", "long"))
    assert decoded(schema, *written(schema, *rows)).frame["a"].to_list() == [row["a"] for row in rows]


def test_an_int_has_32_bits() -> None:
    wide, narrow = record(("a", "long")), record(("a", "int"))
    found = decoded(narrow, *written(wide, {"a": 2**31}, {"a": -(2**31)}, {"a": -(2**31) - 1}))
    assert found.frame["a"].to_list() == [-(2**31)]
    assert "32 bits" in reasons(found)[0]


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        (["null", "long"], b"\x04", "branch"),
        (["null", "long"], b"\x01", "branch"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "symbol"),
        ({"type": "array", "items": "long"}, b"\xfe\xff\xff\xff\x0f", "more items than bytes"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\x0f", "more items than bytes"),
        ({"type": "array", "items": "long"}, b"\xff" * 9 + b"\x01\x00", "more items than bytes"),
        ({"type": "array", "items": "long"}, b"\x04\x02", "more items than bytes"),
        ({"type": "array", "items": "long"}, b"\x02\x80\x80", "ends in the midst"),
        ({"type": "array", "items": "string"}, b"\x04\x02\x02", "ends in the midst"),
        ({"type": "array", "items": "string"}, b"\x02\x01\x00", "negative length"),
        ({"type": "map", "values": "long"}, b"\x02\x02", "ends in the midst"),
        ({"type": "fixed", "name": "F", "size": 3}, b"\x01\x02", "ends in the midst"),
    ],
)
def test_what_is_wrong_inside_a_type_is_told(schema: Any, value: bytes, reason: str) -> None:
    found = decoded(record(("v", schema)), value)
    assert reason in reasons(found)[0]


def test_blocks_with_their_size_are_read_as_others() -> None:
    # Two blocks of two and one items; the first says how many bytes it has.
    value = b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x00"
    schema = record(("v", {"type": "array", "items": "long"}))
    assert decoded(schema, value).frame["v"].to_list() == [[1, 2, 3]]


def test_logical_types() -> None:
    def logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "logicalType": name} | more

    fixed = {"type": "fixed", "name": "D", "size": 16, "logicalType": "decimal", "precision": 38, "scale": 10}
    schema = record(
        ("ms", logical("long", "timestamp-millis")),
        ("us", ["null", logical("long", "timestamp-micros")]),
        ("ns", logical("long", "timestamp-nanos")),
        ("local", logical("long", "local-timestamp-micros")),
        ("day", logical("int", "date")),
        ("price", logical("bytes", "decimal", precision=9, scale=2)),
        ("wide", fixed),
        ("id", logical("string", "uuid")),
        ("times", {"type": "array", "items": logical("long", "timestamp-millis")}),
        ("odd", logical("string", "timestamp-millis")),
    )
    raw = json.loads(json.dumps(schema).replace('"logicalType"', '"was"'))
    row = {
        "ms": 1_700_000_000_123,
        "us": 1_700_000_000_123_456,
        "ns": 1_700_000_000_123_456_789,
        "local": -1,
        "day": 20_000,
        "price": (-12345).to_bytes(4, "big", signed=True),
        "wide": (10**37 + 1).to_bytes(16, "big", signed=True),
        "id": "6f1",
        "times": [0, 1],
        "odd": "x",
    }
    frame = decoded(schema, *written(raw, row, row | {"us": None})).frame
    utc = datetime.UTC
    assert frame.schema["ms"] == pl.Datetime("ms", "UTC")
    assert frame.schema["local"] == pl.Datetime("us")
    assert frame["us"].to_list() == [datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=utc), None]
    assert frame["ns"].to_physical()[0] == row["ns"]
    assert frame["day"][0] == datetime.date(2024, 10, 4)
    assert str(frame["price"][0]) == "-123.45"
    assert str(frame["wide"][0]) == "1000000000000000000000000000.0000000001"
    assert frame["times"][0].to_list()[1] == datetime.datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=utc)
    assert (frame["id"][0], frame["odd"][0]) == ("6f1", "x")
    found = decoded(schema, *written(raw, row | {"price": (10**9).to_bytes(5, "big")}))
    assert "more digits" in reasons(found)[0]


def test_names_of_records_are_found_by_their_space() -> None:
    inner = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int"}]}
    schema = record(("a", inner), ("b", ["null", "space.P"]), ("c", "P"), namespace="space")
    row = {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}, "c": {"x": 5, "y": 6}}
    found = decoded(schema, *written(schema, row, row | {"b": None}))
    assert found.frame.to_dict(as_series=False) == {
        "a.x": [1, 1],
        "a.y": [2, 2],
        "b.x": [3, None],
        "b.y": [4, None],
        "c.x": [5, 5],
        "c.y": [6, 6],
    }
    only = decoded(schema, *written(schema, row), columns=["b.y"])
    assert only.frame.to_dict(as_series=False) == {"b.y": [4]}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (record(("a", "what")), "uses the type 'what'"),
        (record(("a", [])), "union"),
        (record(("a", {"type": "array"})), "lacks 'items'"),
        (record(("a", {"type": "enum", "name": "E"})), "lacks 'symbols'"),
        (record(("a", {"type": "fixed", "name": "F", "size": "3"})), "size"),
        (record(("a", 3)), "where a type should be"),
        (record(("a", "int"), ("a", "int")), "twice"),
        (record(("a", {"type": "enum", "name": "R", "symbols": []})), "twice"),
        ({"type": "record", "name": "R", "fields": [3]}, "where a field should be"),
    ],
)
def test_a_schema_that_is_none_is_told(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        decoder(AvroFormat(json.dumps(schema)))


def test_a_record_in_itself_is_refused() -> None:
    with pytest.raises(Unsupported, match="contains itself"):
        decoder(AvroFormat(json.dumps(record(("next", ["null", "R"])))))


def test_unions_of_widths_are_one_column() -> None:
    schema = record(("a", ["null", "int", "long"]), ("b", ["float", "double"]))
    found = decoded(schema, b"\x02\x06\x02" + b"\0" * 8, b"\x04\x08\x00" + b"\0" * 4, b"\x00\x00\x00\x00\x00\x00")
    assert found.frame.to_dict(as_series=False) == {"a": [3, 4, None], "b": [0.0, 0.0, 0.0]}


def test_texts_in_lists_are_those_of_their_own_message() -> None:
    schema = record(("v", {"type": "array", "items": "string"}))
    rows = [{"v": []}, {"v": ["a", "b"]}, {"v": ["c"]}]
    assert decoded(schema, *written(schema, *rows)).frame.to_dicts() == rows


def test_long_lists_are_read_in_no_time_and_bad_ones_too() -> None:
    schema = record(("v", {"type": "array", "items": "string"}))
    count = 200_000
    [value] = written(schema, {"v": [""] * count})
    assert decoded(schema, value).frame["v"].list.len().to_list() == [count]
    assert decoded(schema, value[:-2]).failed
    numbers = record(("v", {"type": "array", "items": "long"}))
    [value] = written(numbers, {"v": list(range(count))})
    assert decoded(numbers, value).frame["v"][0].sum() == sum(range(count))


def test_a_header_is_passed_over_where_no_registry_is_named() -> None:
    values = written(SIMPLE, ROW, ROW | {"id": 0})
    headed = [b"\0\0\0\0\x09" + value for value in values]
    found = decoded(SIMPLE, values[0], headed[0], values[1], headed[1], b"\0\0\0\0\x09")
    assert found.frame["id"].to_list() == [7, 7, 0, 0]
    assert list(reasons(found)) == [4]


def test_what_can_be_read_with_a_header_and_without_is_refused() -> None:
    schema = record(("a", "bytes"), ("b", "bytes"))
    twofold = b"\x00\x0a\x00\x00\x00\x02a\x02b"[:0] or b"\x00\x10\x00\x00\x00\x02a\x04bc"
    assert decoded(schema, twofold[5:]).failed == []
    found = decoded(schema, twofold)
    assert "schema_registry_url" in reasons(found)[0]


def test_errors_are_ours() -> None:
    with pytest.raises(TiffinError):
        decoder(AvroFormat("["))
