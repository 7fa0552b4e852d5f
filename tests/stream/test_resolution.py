"""Messages of other schemas than the declared one, named by a registry."""

from __future__ import annotations

import json
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.servers.process import free_port
from tests.stream.test_avro import record, written
from tests.stream.test_decode import messages, reasons
from tiffin.data_format import AvroFormat
from tiffin.errors import InvalidConfig, PermissionDenied, Unauthenticated, Unavailable
from tiffin.stream.decode import Decoded, decoder

READER = record(("id", "long"), ("name", "string"))
ROW = {"id": 7, "name": "abc"}


class Registry:
    """An HTTP server that answers as a schema registry does."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append((self.path, self.headers.get("Authorization")))
                found = registry.answers.get(int(self.path.rsplit("/", 1)[1]))
                status = registry.status if registry.status != 200 else 404 if found is None else 200
                body = json.dumps(found if status == 200 else {"error_code": 40403}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is told."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def add(self, number: int, schema: dict[str, Any]) -> None:
        self.answers[number] = {"schema": json.dumps(schema)}

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.stop()


def headed(number: int, schema: dict[str, Any], *rows: dict[str, Any]) -> list[bytes]:
    return [struct.pack(">bI", 0, number) + value for value in written(schema, *rows)]


def resolved(registry: Registry, reader: dict[str, Any], writer: dict[str, Any], *rows: dict[str, Any]) -> Decoded:
    registry.add(1, writer)
    form = AvroFormat(json.dumps(reader))
    return decoder(form, options={"schema_registry_url": registry.url}).decode(messages(*headed(1, writer, *rows)))


def test_a_schema_that_changes_in_mid_stream(registry: Registry) -> None:
    later = record(("extra", {"type": "map", "values": "long"}), ("name", "string"), ("id", "int"), ("more", "double"))
    registry.add(1, READER)
    registry.add(2, later)
    reader = decoder(AvroFormat(json.dumps(READER)), options={"schema_registry_url": registry.url})
    old = headed(1, READER, ROW, ROW | {"id": 8})
    new = headed(2, later, {"extra": {"a": 1}, "name": "new", "id": 9, "more": 0.5})
    unknown = headed(3, READER, ROW)
    found = reader.decode(messages(old[0], new[0], unknown[0], b"\x0e\x06abc", old[1], b"", new[0][:-1]))
    assert found.frame.to_dict(as_series=False) == {"id": [7, 9, 8], "name": ["abc", "new", "abc"]}
    assert found.positions.to_list() == [0, 1, 4]
    told = reasons(found)
    assert "no schema of the number 3" in told[2]
    assert "no header" in told[3]
    assert "no header" in told[5]
    assert "midst of more" in told[6]
    registry.add(3, READER)
    assert reader.decode(messages(unknown[0])).frame["id"].to_list() == [7]
    assert [path for path, _ in registry.asked].count("/schemas/ids/1") == 1


@pytest.mark.parametrize(
    ("reader", "writer", "value", "expected"),
    [
        ("long", "int", 5, 5),
        ("double", "int", 5, 5.0),
        ("double", "long", 2**53, 2.0**53),
        ("double", "float", 0.5, 0.5),
        ("float", "long", 2**24, 2.0**24),
        ("string", "bytes", b"abc", "abc"),
        ("bytes", "string", "abc", b"abc"),
        (["null", "long"], "long", 5, 5),
        ("long", ["null", "long"], 5, 5),
        (["null", "double"], ["null", "int"], 5, 5.0),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, [1, 2], [1, 2]),
    ],
)
def test_values_grow(registry: Registry, reader: Any, writer: Any, value: Any, expected: Any) -> None:
    found = resolved(registry, record(("v", reader)), record(("v", writer)), {"v": value})
    assert found.failed == []
    assert found.frame["v"].to_list() == [expected]


@pytest.mark.parametrize(
    ("reader", "writer", "value", "reason"),
    [
        ("int", "long", 5, "written as long"),
        ("long", "double", 5.0, "written as double"),
        ("long", "string", "5", "written as string"),
        ("double", "long", 2**53 + 1, "not exact"),
        ("float", "int", 2**24 + 1, "not exact"),
        ("long", ["null", "long"], None, "is null"),
        ("string", "bytes", b"\xff", "UTF-8"),
        ("long", {"type": "array", "items": "long"}, [1], "written as array"),
    ],
)
def test_values_that_do_not_fit_fail(registry: Registry, reader: Any, writer: Any, value: Any, reason: str) -> None:
    found = resolved(registry, record(("v", reader)), record(("v", writer)), {"v": value})
    assert reason in reasons(found)[0]


def test_fields_are_found_by_alias_and_absent_ones_have_their_default(registry: Registry) -> None:
    reader = record(("id", "long"))
    point = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "int", "default": 1}]}
    reader["fields"] += [
        {"name": "title", "type": "string", "aliases": ["name"]},
        {"name": "city", "type": "string", "default": "none"},
        {"name": "raw", "type": "bytes", "default": "\u00ff"},
        {"name": "score", "type": ["null", "double"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["a"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 1},
        {"name": "p", "type": point, "default": {}},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"]}, "default": "B"},
    ]
    found = resolved(registry, reader, READER, ROW)
    assert found.failed == []
    [row] = found.frame.with_columns(at=found.frame["at"].to_physical()).to_dicts()
    assert row == {
        "id": 7,
        "title": "abc",
        "city": "none",
        "raw": b"\xff",
        "score": None,
        "tags": ["a"],
        "at": 1,
        "p.x": 1,
        "kind": "B",
    }
    lacking = resolved(registry, record(("id", "long"), ("must", "long")), READER, ROW)
    assert "must was not written" in reasons(lacking)[0]


def test_symbols_are_found_by_name(registry: Registry) -> None:
    def kinds(*symbols: str, **more: Any) -> dict[str, Any]:
        return record(("v", {"type": "enum", "name": "K", "symbols": list(symbols)} | more))

    rows = [{"v": "A"}, {"v": "C"}]
    found = resolved(registry, kinds("B", "A"), kinds("C", "A"), *rows)
    assert found.frame["v"].to_list() == ["A"]
    assert "'C'" in reasons(found)[1]
    assert resolved(registry, kinds("B", "A", default="B"), kinds("C", "A"), *rows).frame["v"].to_list() == ["A", "B"]


def test_times_are_read_in_the_unit_they_were_written_in(registry: Registry) -> None:
    def times(unit: str) -> dict[str, Any]:
        return record(("v", {"type": "long", "logicalType": unit}))

    raw = record(("v", "long"))
    registry.add(1, times("timestamp-millis"))
    values = headed(1, raw, {"v": 5}, {"v": 2**62})
    form = AvroFormat(json.dumps(times("timestamp-micros")))
    found = decoder(form, options={"schema_registry_url": registry.url}).decode(messages(*values))
    assert found.frame["v"].to_physical().to_list() == [5_000]
    assert "beyond" in reasons(found)[1]
    form = AvroFormat(json.dumps(record(("v", {"type": "long", "logicalType": "timestamp-millis"}))))
    registry.add(1, times("timestamp-micros"))
    found = decoder(form, options={"schema_registry_url": registry.url}).decode(messages(*values))
    assert "timestamp-micros" in reasons(found)[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"schema": "{", "schemaType": "AVRO"}, "not JSON"),
        ({"schema": "syntax", "schemaType": "PROTOBUF"}, "not of Avro"),
        ({"schema": json.dumps(READER), "references": [{"name": "x"}]}, "refers to others"),
        ({"schema": '"int"'}, "must be a record"),
    ],
)
def test_schemas_that_are_of_no_use(registry: Registry, answer: Any, reason: str) -> None:
    registry.answers[1] = answer
    form = AvroFormat(json.dumps(READER))
    found = decoder(form, options={"schema_registry_url": registry.url}).decode(messages(*headed(1, READER, ROW)))
    assert reason in reasons(found)[0]


def test_who_asks_is_told_to_the_registry_and_to_nobody_else(registry: Registry) -> None:
    registry.add(1, READER)
    options = {
        "schema_registry_url": f"http://127.0.0.1:{free_port()}, {registry.url}",
        "schema_registry_auth": "me:pw1",
    }
    reader = decoder(AvroFormat(json.dumps(READER)), options=options)
    assert reader.decode(messages(*headed(1, READER, ROW))).frame["id"].to_list() == [7]
    assert registry.asked[-1][1] == f"Basic {b64encode(b'me:pw1').decode()}"
    for status, error in ((401, Unauthenticated), (403, PermissionDenied), (500, Unavailable)):
        registry.status = status
        with pytest.raises(error) as caught:
            reader.decode(messages(*headed(2, READER, ROW)))
        assert "pw1" not in str(caught.value)
    with pytest.raises(InvalidConfig) as wrong:
        decoder(AvroFormat(json.dumps(READER)), options={"schema_registry_url": "http://me:pw1@host"})
    assert "pw1" not in str(wrong.value)


def test_a_registry_that_is_away_is_waited_for() -> None:
    options = {"schema_registry_url": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(Unavailable, match="schema registry"):
        decoder(AvroFormat(json.dumps(READER)), options=options).decode(messages(*headed(1, READER, ROW)))
