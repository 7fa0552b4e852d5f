"""Whatever is sent to the online service, it answers: never with a fault of its own, and it lives on."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.serving.online_world import fill
from tests.serving.services import Service, ask
from tiffin import Client
from tiffin.serving.online.app import ROUTES

POSTS = [path for path, route in ROUTES.items() if route.method == "POST"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("fuzz") / "home"
    with Client(home=str(home)) as client:
        fill(client)
    running = Service(home / "run", home=str(home), serving_head_timeout=2, serving_max_body="1MB")
    try:
        running.start()
        yield running
        assert "Traceback" not in running.log
        assert running.stop() == 0
    finally:
        running.kill()


def check(service: Service, method: str, path: str, body: Any, **headers: str) -> None:
    answer = service.ask(method, path, body, **headers)
    assert answer.status < 500, (path, body, answer)
    if answer.body and method != "HEAD" and path != "/metrics":
        json.loads(answer.body)


_NAMES = st.sampled_from(["trips:count", "everything:bytes_list", "everything:double", "odd:f", "other/ratings:stars"])
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
_COLUMNS = st.dictionaries(
    st.sampled_from(["driver_id", "city", "token", "since", "event_timestamp", "x"]),
    st.one_of(st.lists(_SCALARS, min_size=2, max_size=2), st.lists(_JSON, max_size=3), _JSON),
    max_size=5,
)
_READ = st.fixed_dictionaries(
    {},
    optional={
        "features": st.one_of(
            st.lists(st.one_of(_NAMES, st.text(max_size=8)), max_size=4), st.lists(_NAMES, min_size=1), _JSON
        ),
        "feature_service": st.one_of(st.just("model"), _JSON),
        "project": st.one_of(st.just("other"), st.text(max_size=5), _JSON),
        "entities": st.one_of(_COLUMNS, _JSON),
        "entity_rows": st.one_of(st.lists(_COLUMNS, max_size=3), _JSON),
        "full_feature_names": st.one_of(st.booleans(), _JSON),
    },
)
_ROWS = st.dictionaries(
    st.sampled_from(
        [
            "driver_id",
            "city",
            "count",
            "int64",
            "event_timestamp",
            "created",
            "",
            "$event_ts",
            "_row",
            "bytes_list",
            "bool",
        ]
    ),
    st.one_of(
        st.lists(_SCALARS, min_size=1, max_size=1),
        st.lists(_JSON, max_size=2),
        st.just(["2026-09-01T00:00:00"]),
        st.just([1]),
    ),
    max_size=6,
)
_WRITE = st.fixed_dictionaries(
    {},
    optional={
        "push_source_name": st.one_of(st.sampled_from(["trips", "everything"]), _JSON),
        "feature_view_name": st.one_of(st.sampled_from(["trips", "everything"]), _JSON),
        "df": st.one_of(_ROWS, _JSON),
        "to": st.one_of(st.sampled_from(["online", "offline", "online_and_offline"]), _JSON),
        "start_ts": st.one_of(st.just("2026-01-01"), st.text(max_size=12), _JSON),
        "end_ts": st.one_of(st.just("2026-01-02"), st.text(max_size=12), _JSON),
        "feature_views": st.one_of(st.none(), st.lists(st.sampled_from(["trips", "odd", "no"])), _JSON),
    },
)


@settings(max_examples=150)
@given(path=st.sampled_from(["/v1/features/online", "/get-online-features"]), body=_READ, arrow=st.booleans())
@example(
    path="/v1/features/online",
    body={"features": ["trips:count"], "entities": {"driver_id": [], "city": []}},
    arrow=True,
)
def test_reads(service: Service, path: str, body: Any, arrow: bool) -> None:
    answer = service.ask("POST", path, body, **({"Accept": "application/vnd.apache.arrow.stream"} if arrow else {}))
    assert answer.status < 500, (body, answer)


@settings(max_examples=100)
@given(path=st.sampled_from(POSTS[2:]), body=st.one_of(_WRITE, _JSON))
def test_writes(service: Service, path: str, body: Any) -> None:
    check(service, "POST", path, body)


@settings(max_examples=60)
@given(
    query=st.dictionaries(
        st.sampled_from(["table", "project", "on_invalid", "texts", "x"]), st.text(max_size=8), max_size=4
    ),
    body=st.binary(max_size=60),
)
def test_pushes_of_streams(service: Service, query: dict[str, str], body: bytes) -> None:
    from urllib.parse import urlencode

    check(service, "POST", f"/v1/push?{urlencode(query)}", body)


@settings(max_examples=100)
@given(
    path=st.sampled_from([*ROUTES, "/", "/%00", "/v1//x", "*"]),
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    body=st.binary(max_size=80),
)
def test_bytes_as_bodies(service: Service, path: str, method: str, body: bytes) -> None:
    check(service, method, path, body)


_LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"GET /health HTTP/1.1",
                b"POST /get-online-features HTTP/1.1",
                b"POST /push HTTP/1.0",
                b"CONNECT x:1 HTTP/1.1",
                b"OPTIONS * HTTP/1.1",
                b"GET http://a/b HTTP/1.1",
                b"GET //[ HTTP/1.1",
                b"Host: x",
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Content-Length: 99999999999999999999",
                b"Transfer-Encoding: chunked",
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Upgrade: h2c",
                b"Expect: 100-continue",
                b"Authorization: Bearer \xff",
                b"X-Request-Id: \x80",
                b"Accept: */*",
                b"",
                b"",
                b"5",
                b"hello",
                b"0",
            ]
        ),
    ),
    max_size=10,
)


@settings(max_examples=150)
@given(lines=_LINES)
@example(lines=[b"OPTIONS * HTTP/1.1", b"", b""])
@example(lines=[b"GET /health HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"", b""])
@example(lines=[b"CONNECT x:1 HTTP/1.1", b"", b""])
def test_bytes_on_the_wire(service: Service, lines: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    for start in answer.split(b"HTTP/1.1 ")[1:]:
        assert start[:1] in b"1234", answer


def test_it_still_answers(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    body = {"features": ["trips:count"], "entities": {"driver_id": [1], "city": ["Pune"]}}
    assert ask(connection, "POST", "/get-online-features", body).status == 200
    connection.close()
    assert Path(service._folder, "server.log").exists()
