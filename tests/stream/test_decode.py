"""What holds for messages of every format."""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl
import pytest

from tiffin.data_format import AvroFormat, JsonFormat, ProtoFormat
from tiffin.errors import Unsupported
from tiffin.stream.base import Message
from tiffin.stream.decode import Decoded, decoder
from tiffin.types import ValueType

AVRO = {"type": "record", "name": "R", "fields": [{"name": "made", "type": ["null", "long"]}]}


def messages(*values: bytes | None, timestamp: int = -1) -> list[Message]:
    return [Message("t/0", number, None, value, timestamp) for number, value in enumerate(values)]


def reasons(decoded: Decoded) -> dict[int, str]:
    return {message.offset: reason for message, reason in decoded.failed}


def test_no_messages_give_no_rows() -> None:
    for form in (JsonFormat(), AvroFormat(json.dumps(AVRO)), ProtoFormat("google.protobuf.type_pb2.Field")):
        decoded = decoder(form).decode([])
        assert (decoded.frame.height, decoded.positions.to_list(), decoded.failed) == (0, [], [])


def test_rows_know_their_messages_and_the_broker_s_time() -> None:
    given = [
        Message("t/1", 5, None, b'{"a": 1}', 7),
        Message("t/1", 6, None, None, 8),
        Message("t/0", 1, None, b"{", 9),
        Message("t/0", 2, None, b'{"a": 2}'),
    ]
    decoded = decoder(JsonFormat()).decode(given)
    assert decoded.frame.to_dict(as_series=False) == {"a": [1, 2]}
    assert decoded.positions.to_list() == [0, 3]
    assert decoded.positions.dtype == pl.UInt32
    assert decoded.timestamps.dtype == pl.Datetime("us", "UTC")
    assert decoded.timestamps.to_physical().to_list() == [7, None]
    assert [message for message, _ in decoded.failed] == given[1:3]
    assert "no value" in decoded.failed[0][1]
    assert "not JSON" in decoded.failed[1][1]


@pytest.mark.parametrize(
    ("values", "expected", "texts"),
    [
        ([b'{"a": 1}', b'{"a": 2}'], [1_000, 1_000], {}),
        ([b'{"a": 1, "made": "2026-01-01"}', b'{"a": 1}'], ["2026-01-01", "1970-01-01T00:00:00.001000Z"], "plain"),
        ([b'{"a": 1, "made": 5}', b'{"a": 1, "made": null}'], ["5", "1970-01-01T00:00:00.001000Z"], "plain"),
        ([b'{"a": 1, "made": "x"}'], ["x"], "plain"),
    ],
)
def test_the_broker_s_time_stands_for_a_creation_time_that_is_absent(
    values: list[bytes], expected: list[object], texts: str | Mapping[str, str]
) -> None:
    types = {"a": ValueType.INT64, "made": ValueType.UNIX_TIMESTAMP}
    decoded = decoder(JsonFormat(), types=types, created_column="made").decode(messages(*values, timestamp=1_000))
    made = decoded.frame["made"]
    assert (made.to_physical().to_list() if made.dtype.is_temporal() else made.to_list()) == expected
    assert decoded.texts == ({} if texts == {} else {"made": texts})


def test_a_creation_time_that_the_broker_does_not_know_either_is_null() -> None:
    decoded = decoder(JsonFormat(), created_column="made").decode(messages(b'{"a": 1}'))
    assert decoded.frame["made"].to_list() == [None]


def test_avro_s_absent_creation_time() -> None:
    null, five = b"\x00", b"\x02\x0a"
    decoded = decoder(AvroFormat(json.dumps(AVRO)), created_column="made").decode(messages(null, five, timestamp=10))
    assert decoded.frame["made"].to_list() == ["1970-01-01T00:00:00.000010Z", "5"]
    assert decoded.texts == {"made": "plain"}


def test_columns_without_a_type_are_refused_where_they_are_used() -> None:
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "m", "type": {"type": "map", "values": "long"}},
            {"name": "u", "type": ["long", "string"]},
            {"name": "rs", "type": {"type": "array", "items": {"type": "array", "items": "int"}}},
        ],
    }
    form = AvroFormat(json.dumps(schema))
    assert decoder(form, columns=["id"]).decode(messages(b"\x02\x00\x00\x04\x00")).frame.columns == ["id"]
    assert decoder(form).decode(messages(b"\x02\x00\x00\x04\x00")).frame.columns == ["id"]
    for column, reason in (("m", "map"), ("u", "union"), ("rs", "items")):
        with pytest.raises(Unsupported, match=reason):
            decoder(form, columns=["id", column])
