"""Objects of JSON: every value has one reading, or its message is set aside."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.test_decode import messages, reasons
from tiffin.data_format import JsonFormat
from tiffin.stream.decode import decoder
from tiffin.types import ValueType


def read(dtype: ValueType, *values: str) -> tuple[list[Any], dict[int, str], dict[str, str]]:
    """A column of a declared type, null where its message failed, with the reasons."""
    given = messages(*(f'{{"v": {value}}}'.encode() for value in values))
    decoded = decoder(JsonFormat(), types={"v": dtype}, columns=["v"]).decode(given)
    found = dict(zip(decoded.positions, decoded.frame["v"], strict=True))
    column = [found.get(row) for row in range(len(values))]
    return [v.to_list() if isinstance(v, pl.Series) else v for v in column], reasons(decoded), dict(decoded.texts)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1} {}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": 1e999}', "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "levels"),
        (b'{"a": {"b": [' + b"[" * 100_000, "levels"),
        (b"null", "no object"),
        (b"[1]", "no object"),
        (b'"a"', "no object"),
    ],
)
def test_what_is_no_object_of_json_fails_alone(payload: bytes, reason: str) -> None:
    decoded = decoder(JsonFormat()).decode(messages(b'{"a": 1}', payload, b'{"a": 2}'))
    assert decoded.frame["a"].to_list() == [1, 2]
    assert list(reasons(decoded)) == [1]
    assert reason in reasons(decoded)[1]


def test_whole_numbers_are_exact_beside_floats() -> None:
    values, failed, texts = read(ValueType.INT64, "9007199254740993", "2.0", "-9223372036854775808", "1.5", "1e3")
    assert values == [9007199254740993, 2, -(2**63), None, 1000]
    assert list(failed) == [3]
    assert texts == {}


def test_numbers_beyond_their_type_fail() -> None:
    values, failed, _ = read(
        ValueType.INT64, "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 30
    )
    assert values == [2**63 - 1, None, None, None]
    assert list(failed) == [1, 2, 3]
    _, failed, _ = read(ValueType.INT32, "2147483648.0", "2147483647.0", '"5"', "true")
    assert list(failed) == [0, 2, 3]
    values, failed, _ = read(ValueType.DOUBLE, "0.1", "9007199254740993", "9007199254740992", "1")
    assert values == [0.1, None, 2.0**53, 1.0]
    assert list(failed) == [1]
    _, failed, _ = read(ValueType.FLOAT, "1", "1e39", "0.5")
    assert list(failed) == [1]


def test_texts_stand_for_times_and_bytes() -> None:
    values, failed, texts = read(ValueType.UNIX_TIMESTAMP, '"2026-01-01T00:00:00Z"', "5", "1.5", "true", "1e3")
    assert values == ["2026-01-01T00:00:00Z", "5", None, None, "1000"]
    assert list(failed) == [2, 3]
    assert texts == {"v": "plain"}
    assert read(ValueType.BYTES, '"aGk="', "null") == (["aGk=", None], {}, {"v": "plain"})


def test_other_kinds_fail_alone() -> None:
    assert read(ValueType.STRING, '"a"', "1", '["a"]', "null")[:2] == (
        ["a", None, None, None],
        {1: "v: 1 is no text", 2: 'v: ["a"] is no text'},
    )
    values, failed, _ = read(ValueType.BOOL, "true", "1", '"true"')
    assert values == [True, None, None]
    assert list(failed) == [1, 2]


def test_lists_are_read_item_by_item() -> None:
    values, failed, _ = read(ValueType.INT64_LIST, "[1, 2.0, null]", "[]", "null", '[1, "a"]', "[1.5]", "7", "[[1]]")
    assert values == [[1, 2, None], [], None, None, None, None, None]
    assert list(failed) == [3, 4, 5, 6]
    assert read(ValueType.BYTES_LIST, '["aGk=", null]', '["?"]')[0] == [[b"hi", None], None]
    times, failed, _ = read(ValueType.UNIX_TIMESTAMP_LIST, '["2026-01-01T00:00:00.5Z", 0]', '["soon"]', "[1e300]")
    assert [time.timestamp() for time in times[0]] == [1767225600.5, 0]
    assert list(failed) == [1, 2]


def test_of_a_member_that_stands_twice_the_last_counts() -> None:
    assert decoder(JsonFormat()).decode(messages(b'{"a": 1, "a": 2}')).frame["a"].to_list() == [2]


def test_objects_in_objects_are_columns_with_dots() -> None:
    given = messages(b'{"a": {"b": {"c": 1}, "d": 2}}', b'{"a": null}', b'{"a": {"b": {"c": 3}}}')
    decoded = decoder(JsonFormat(), types={"a.b.c": ValueType.INT64}, columns=["a.b.c"]).decode(given)
    assert decoded.frame.to_dict(as_series=False) == {"a.b.c": [1, None, 3]}


def test_columns_that_no_message_has_are_null() -> None:
    decoded = decoder(JsonFormat(), types={"v": ValueType.DOUBLE}, columns=["v"]).decode(messages(b"{}"))
    assert decoded.frame.schema == {"v": pl.Float64}
    assert decoded.frame["v"].to_list() == [None]


def test_undeclared_columns_of_mixed_kinds_are_their_json() -> None:
    decoded = decoder(JsonFormat()).decode(messages(b'{"a": 1}', b'{"a": "x"}', b'{"b": [{"c": 1}]}'))
    assert decoded.frame.to_dict(as_series=False) == {"a": ["1", '"x"', None], "b": [None, None, '[{"c":1}]']}
    assert decoded.texts == {}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(anything, max_size=6), st.sampled_from([dtype for dtype in ValueType if dtype is not ValueType.UNKNOWN])
)
def test_a_message_is_read_alike_whatever_its_neighbours(values: list[Any], dtype: ValueType) -> None:
    texts = [json.dumps(value) for value in values]
    together, failed, _ = read(dtype, *texts)
    for row, text in enumerate(texts):
        [alone], reason, _ = read(dtype, text)
        assert alone == together[row]
        assert reason.get(0) == failed.get(row)
