"""A connection gives data or one of Tiffin's errors, in time, whatever answers."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.remote.scripted import Asked, answer, scripted
from tests.servers.process import free_port
from tiffin import errors
from tiffin.remote.async_http import AsyncConnection
from tiffin.remote.http import Connection

Say = Callable[[Asked], bytes | list[bytes] | None]
Get = Callable[..., Any]


@pytest.fixture(params=["threads", "coroutines"])
def get(request: pytest.FixtureRequest) -> Get:
    """``get(address, path, **options)`` through either connection."""

    def threads(address: str, path: str = "/x", **options: Any) -> Any:
        connection = Connection(address, **options)
        try:
            return connection.get(path)
        finally:
            connection.close()

    def coroutines(address: str, path: str = "/x", **options: Any) -> Any:
        async def run() -> Any:
            connection = AsyncConnection(address, **options)
            try:
                return await connection.get(path)
            finally:
                await connection.aclose()

        return asyncio.run(run())

    return {"threads": threads, "coroutines": coroutines}[request.param]


def failure(call: Callable[[], Any], kind: type[errors.TiffinError], *, within: float) -> errors.TiffinError:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < within
    return caught.value


def test_integers_are_exact_and_nothing_is_none(get: Get) -> None:
    with scripted(lambda _: answer(b"[9223372036854775807, 18446744073709551615]")) as server:
        assert get(server.address) == [2**63 - 1, 2**64 - 1]
    with scripted(lambda _: answer(b"", "204 No Content")) as server:
        assert get(server.address) is None


def test_paths_and_parameters_are_encoded() -> None:
    with scripted(lambda _: answer()) as server:
        connection = Connection(f"http://{server.address}/prefix/")
        connection.get("/a b/ž", label=["x=1", "y&2"], none=None, fresh=True)
        connection.close()
    assert server.asked[0].target == "/prefix/a%20b/%C5%BE?label=x%3D1&label=y%262&fresh=true"


def test_connections_are_kept_alive() -> None:
    with scripted(lambda _: answer()) as server:
        connection = Connection(server.address)
        for _ in range(5):
            connection.get("/x")
        connection.close()
    assert server.connections == 1


def test_a_connection_that_the_service_closed_meanwhile_is_replaced() -> None:
    with scripted(lambda asked: answer(connection="close")) as server:
        connection = Connection(server.address)
        for _ in range(3):
            connection.post("/x", {"a": 1})
        connection.close()
    assert len(server.asked) == 3


def test_many_threads_share_a_connection() -> None:
    with scripted(lambda asked: answer(asked.body)) as server:
        connection = Connection(server.address)
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda number: connection.post("/x", number), range(300)))
        connection.close()
    assert found == list(range(300))
    assert server.connections <= 16


def test_a_service_that_is_down(get: Get) -> None:
    port = free_port()
    error = failure(lambda: get(f"127.0.0.1:{port}"), errors.Unavailable, within=5)
    assert f"http://127.0.0.1:{port}" in error.message
    assert (error.field, "core_url" in str(error.hint)) == ("core_url", True)


def test_a_name_that_nobody_knows(get: Get) -> None:
    failure(lambda: get("no-such-host.invalid"), errors.Unavailable, within=20)


def silent(_: Asked) -> list[bytes]:
    time.sleep(1.2)
    return []


def trickling(_: Asked) -> list[bytes]:
    return [answer(b" " * 1000)[:60], *([b" "] * 100)]


def endless_head(_: Asked) -> list[bytes]:
    return [b"HTTP/1.1 200 OK\r\n", *([b"x: y\r\n"] * 100)]


@pytest.mark.parametrize("say", [silent, trickling, endless_head])
def test_a_slow_service_costs_no_more_than_the_time_that_was_given(get: Get, say: Say) -> None:
    with scripted(say, pause=0.05) as server:
        error = failure(lambda: get(server.address, timeout=0.5), errors.Unavailable, within=1.5)
    assert "0.5 s" in error.message
    assert error.field == "grpc_connection_timeout"


def test_a_service_that_never_accepts(get: Get) -> None:
    """Its queue of connections is full."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        try:
            for each in fillers:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            failure(lambda: get(f"127.0.0.1:{port}", timeout=0.5), errors.Unavailable, within=2)
        finally:
            for each in fillers:
                each.close()


class Times:
    """Answers the first requests in one way, and the rest in another."""

    def __init__(self, first: int, say: bytes | None) -> None:
        self._left = first
        self._say = say

    def __call__(self, _: Asked) -> bytes | None:
        self._left -= 1
        return self._say if self._left >= 0 else answer(b'"late"')


BUSY = answer(b'{"code":"unavailable","message":"too much"}', "503 Service Unavailable", retry_after="0.2")


@pytest.mark.parametrize("say", [BUSY, None, answer(b"<html>", "502 Bad Gateway"), answer(b"", "429 Slow")])
def test_reads_are_tried_again(get: Get, say: bytes | None) -> None:
    with scripted(Times(2, say)) as server:
        assert get(server.address) == "late"
    assert len(server.asked) == 3


def test_a_service_says_how_long_to_wait(get: Get) -> None:
    with scripted(Times(2, BUSY)) as server:
        began = time.monotonic()
        assert get(server.address) == "late"
        assert time.monotonic() - began >= 0.4


def test_waiting_ends_with_the_time_that_was_given(get: Get) -> None:
    later = answer(b'{"code":"unavailable","message":"busy"}', "503 No", retry_after="30")
    with scripted(lambda _: later) as server:
        error = failure(lambda: get(server.address, timeout=1), errors.Unavailable, within=1)
    assert isinstance(error, errors.Unavailable)
    assert error.retry_after == 30
    assert len(server.asked) == 1


def test_retries_are_bounded(get: Get) -> None:
    with scripted(lambda _: None) as server:
        failure(lambda: get(server.address), errors.Unavailable, within=5)
    assert 3 <= len(server.asked) <= 6


def test_changes_are_sent_once_unless_the_caller_says_otherwise() -> None:
    with scripted(lambda _: None) as server:
        connection = Connection(server.address)
        for call in (
            lambda: connection.post("/x", {}),
            lambda: connection.put("/x", {}),
            lambda: connection.delete("/x"),
        ):
            failure(call, errors.Unavailable, within=2)
        assert len(server.asked) == 3
        failure(lambda: connection.post("/x", {}, retry=True), errors.Unavailable, within=5)
        assert len(server.asked) > 4
        connection.close()


GARBAGE = {
    "a page of a proxy": answer(b"<html><h1>Welcome</h1></html>", content_type="text/html"),
    "no JSON": answer(b'{"a": '),
    "no UTF-8": answer(b'"\xff\xfe"'),
    "another program": answer(b"404 page not found", "404 Not Found", content_type="text/plain"),
    "another program's JSON": answer(b'{"detail":"Not Found"}', "404 Not Found"),
    "a redirect": answer(b"", "302 Found", location="https://elsewhere.example/login"),
    "a method that there is not": answer(b"", "405 Method Not Allowed"),
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "cut short": answer(b'{"a": 1}', content_length="100"),
    "binary": bytes(range(256)),
    "an empty line": b"\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_told_as_what_it_is(get: Get, garbage: bytes) -> None:
    with scripted(lambda _: garbage) as server:
        error = failure(lambda: get(server.address, timeout=1), errors.Unavailable, within=6)
    assert error.message.startswith("The core service at http://127.0.0.1:")


def test_a_redirect_is_not_followed_and_takes_no_token_along() -> None:
    with scripted(lambda _: answer()) as other:
        moved = answer(b"", "307 Temporary Redirect", location=f"http://{other.address}/x")
        with scripted(lambda _: moved) as server:
            connection = Connection(server.address, token=lambda: "secret-token")
            failure(lambda: connection.get("/x"), errors.Unavailable, within=2)
            connection.close()
        assert server.asked[0].headers["authorization"] == "Bearer secret-token"
        assert not other.asked


TOLD = [
    (b'{"code":"not_found","message":"There is no table.","field":"table","hint":"Apply."}', "404 No", errors.NotFound),
    (b'{"code":"concurrent_change","message":"m","field":null,"hint":null}', "409 No", errors.ConcurrentChange),
    (b'{"code":"permission_denied","message":"m"}', "403 No", errors.PermissionDenied),
    (b'{"code":"breaking_change","message":"m"}', "409 No", errors.BreakingChange),
    (b'{"code":"of the future","message":"m"}', "422 No", errors.InvalidArgument),
    (b"<html>", "401 Unauthorized", errors.Unauthenticated),
    (b"<html>", "403 Forbidden", errors.PermissionDenied),
    (b"<html>", "413 Too Large", errors.InvalidArgument),
    (b"<html>", "500 Oh", errors.TiffinError),
]


@pytest.mark.parametrize(("body", "status", "kind"), TOLD)
def test_errors_travel(get: Get, body: bytes, status: str, kind: type[errors.TiffinError]) -> None:
    with scripted(lambda _: answer(body, status)) as server:
        error = failure(lambda: get(server.address), kind, within=2)
    assert type(error) is kind
    if body.startswith(b'{"code":"not_found"'):
        assert (error.message, error.field, error.hint) == ("There is no table.", "table", "Apply.")


class TestTLS:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def certificate(self, authority: trustme.CA, tmp_path: Path) -> str:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        return str(tmp_path / "ca.pem")

    @pytest.fixture
    def speaking(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        return context

    def test_the_authority_that_was_named_is_trusted(
        self, get: Get, speaking: ssl.SSLContext, certificate: str
    ) -> None:
        with scripted(lambda _: answer(b"1"), tls=speaking) as server:
            assert get(server.address, tls=True, certificate=certificate) == 1
            assert get(f"https://{server.address}", certificate=certificate) == 1

    def test_no_other_authority_is(self, get: Get, speaking: ssl.SSLContext, tmp_path: Path) -> None:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        with scripted(lambda _: answer(b"1"), tls=speaking) as server:
            for certificate in ("", str(tmp_path / "other.pem")):
                error = failure(
                    lambda certificate=certificate: get(server.address, tls=True, certificate=certificate),
                    errors.Unavailable,
                    within=2,
                )
                assert error.field == "core_server_ssl_cert"
        assert not server.asked

    def test_the_name_counts(self, get: Get, authority: trustme.CA, certificate: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("features.example").configure_cert(context)
        with scripted(lambda _: answer(b"1"), tls=context) as server:
            failure(lambda: get(server.address, tls=True, certificate=certificate), errors.Unavailable, within=2)
        assert not server.asked

    def test_one_side_without_tls(self, get: Get, speaking: ssl.SSLContext, certificate: str) -> None:
        with scripted(lambda _: answer()) as server:
            failure(lambda: get(server.address, tls=True, certificate=certificate), errors.Unavailable, within=5)
        with scripted(lambda _: answer(), tls=speaking) as server:
            error = failure(lambda: get(server.address), errors.Unavailable, within=5)
            assert "TLS" in str(error.hint)

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_without_a_certificate(self, get: Get, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        error = failure(lambda: get("127.0.0.1:1", tls=True, certificate=str(path)), errors.InvalidConfig, within=2)
        assert error.field == "core_server_ssl_cert"


def test_the_token_is_in_no_repr_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    secret = "tiffin_5ecret"
    with caplog.at_level(logging.DEBUG), scripted(lambda _: answer(b"no", "500 Oh")) as server:
        connection = Connection(server.address, token=lambda: secret)
        error = failure(lambda: connection.get("/x"), errors.TiffinError, within=2)
        connection.close()
    assert secret not in f"{connection!r} {error} {error.to_dict()} {vars(connection)!r}"
    assert secret not in caplog.text
    assert server.asked[0].headers["authorization"] == f"Bearer {secret}"


@pytest.mark.parametrize("token", ["a\r\nx-admin: 1", "a b", "é"])
def test_a_token_that_no_header_may_hold(token: str) -> None:
    error = failure(lambda: Connection("127.0.0.1:1", token=lambda: token).get("/x"), errors.InvalidConfig, within=1)
    assert token not in str(error)


def test_the_loopback_has_no_proxy(monkeypatch: pytest.MonkeyPatch, get: Get) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with scripted(lambda _: answer(b"1")) as server:
        assert get(server.address) == 1


def test_other_hosts_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch, get: Get) -> None:
    with scripted(lambda _: answer(b"1")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        monkeypatch.setenv("no_proxy", "direct.invalid")
        assert get("features.invalid:80") == 1
        assert proxy.asked[0].target == "http://features.invalid:80/x"
        failure(lambda: get("direct.invalid:80"), errors.Unavailable, within=20)


def _in_child(connection: Connection, results: Any) -> None:
    results.put(connection.get("/x"))
    connection.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own() -> None:
    with scripted(lambda asked: answer(str(asked.connection).encode())) as server:
        connection = Connection(server.address)
        assert connection.get("/x") == 1
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_in_child, args=(connection, results))
        child.start()
        assert results.get(timeout=10) == 2
        child.join(10)
        assert connection.get("/x") == 1  # the parent's is as it was
        connection.close()
        results.close()


@pytest.fixture
def slow() -> Iterator[Any]:
    def say(asked: Asked) -> bytes:
        time.sleep(0.2 if asked.target == "/slow" else 0)
        return answer(asked.target.encode().join((b'"', b'"')))

    with scripted(say) as server:
        yield server


def test_a_cancelled_coroutine_disturbs_no_other(slow: Any) -> None:
    async def run() -> None:
        connection = AsyncConnection(slow.address)
        for _ in range(20):
            cancelled = asyncio.create_task(connection.get("/slow"))
            others = [asyncio.create_task(connection.get(f"/{number}")) for number in range(8)]
            await asyncio.sleep(0.01)
            cancelled.cancel()
            assert await asyncio.gather(*others) == [f"/{number}" for number in range(8)]
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        await connection.aclose()

    asyncio.run(run())


def test_each_event_loop_has_connections_of_its_own(slow: Any) -> None:
    connection = AsyncConnection(slow.address)

    async def one() -> Any:
        try:
            return await connection.get("/a")
        finally:
            await connection.aclose()

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(one()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["/a"] * 4
