"""Services as processes: where they listen, what they refuse, and how they end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.serving.services import Service, ask
from tiffin.errors import InvalidConfig
from tiffin.serving.process.runner import serve

SMALL = "tests.serving.applications:small"


@contextmanager
def running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.kill()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("small")
    with running(Service(folder, SMALL, home=str(folder), serving_head_timeout=1, serving_keep_alive=2)) as service:
        yield service


# Addresses


def test_the_line_that_says_where_comes_when_it_answers(small: Service) -> None:
    assert small.log.startswith("service listens on http://127.0.0.1:")
    assert small.ask("POST", "/", b"hello").body == b"hello"


def test_a_port_that_is_taken_is_refused(small: Service, home: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(InvalidConfig, match="cannot listen"):
            serve(SMALL, {"home": str(home)}, "127.0.0.1", small.port, workers)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.1.1.1", "x" * 70])
def test_an_address_that_is_none_is_refused(host: str, home: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot listen"):
        serve(SMALL, {"home": str(home), "allow_anonymous": True}, host)


def test_half_of_tls_or_a_missing_file_is_refused(home: Path, tmp_path: Path) -> None:
    for cert, key, field in (("a", "", "tls_key"), ("", "b", "tls_cert"), (str(tmp_path / "x"), "b", "tls_cert")):
        with pytest.raises(InvalidConfig) as caught:
            serve(SMALL, {"home": str(home)}, tls_cert=cert, tls_key=key)
        assert caught.value.field == field
    with pytest.raises(InvalidConfig, match="at least one worker"):
        serve(SMALL, {"home": str(home)}, workers=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_application_that_cannot_begin_ends_the_service(tmp_path: Path, workers: int) -> None:
    service = Service(tmp_path, "tests.serving.applications:broken", workers=workers, home=str(tmp_path))
    with pytest.raises(AssertionError, match="This application cannot be made"):
        service.start()


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with running(Service(tmp_path, SMALL, tls=(str(cert), str(key)), home=str(tmp_path))) as service:
        connection = http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=10)
        assert ask(connection, "POST", "/", b"secret").body == b"secret"
        connection.close()
        assert "https://" in service.log
        assert service.stop() == 0


# Requests that are none


def raw(service: Service, data: bytes, *, patience: float = 10.0) -> bytes:
    """All that comes back for some bytes, until the other side ends."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=patience) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    ],
)
def test_what_is_not_http_is_told_so_in_json(small: Service, data: bytes) -> None:
    answer = raw(small, data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in answer


def test_a_head_has_its_limit(small: Service) -> None:
    answer = raw(small, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_head_that_dribbles_in_is_given_up(small: Service) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        answer = b""
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.settimeout(0.2)
        while not answer:
            assert time.monotonic() - began < 8
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                connection.sendall(b"X")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_quiet_connection_is_ended_cleanly(small: Service) -> None:
    assert raw(small, b"") == b""
    assert raw(small, b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").endswith(b"hi")


def test_garbage_after_a_request_leaves_its_answer(small: Service) -> None:
    answer = raw(small, b"POST /slow HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\x00\x01garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hi")


def test_a_request_that_was_answered_early_gets_no_second_answer(small: Service) -> None:
    """Not when its body turns out to be garbage: whoever goes on would take that for the answer to the next one."""
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        first = connection.recv(65536)
        assert first.startswith(b"HTTP/1.1 200")
        connection.sendall(b"no size\r\n")
        assert connection.recv(65536) == b""


def test_requests_in_a_row_without_waiting_are_answered_in_order(small: Service) -> None:
    request = b"POST %s HTTP/1.1\r\nContent-Length: 1\r\n%s\r\n%s"
    sent = (
        request % (b"/slow", b"", b"1") + request % (b"/", b"", b"2") + request % (b"/", b"Connection: close\r\n", b"3")
    )
    answer = raw(small, sent)
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"2", b"3"]


def test_head_streams_and_expectations(small: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", small.port, timeout=10)
    assert ask(connection, "GET", "/stream").body == b"ab"
    connection.request("HEAD", "/pid")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    assert int(response.getheader("content-length") or 0) > 0
    assert ask(connection, "POST", "/", b"x" * 300_000).body == b"x" * 300_000
    connection.close()
    answer = raw(small, b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


# The end


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_under_load_drops_no_request(tmp_path: Path, workers: int) -> None:
    with running(Service(tmp_path, SMALL, workers=workers, home=str(tmp_path))) as service:
        load = Load(service.port)
        load.start()
        time.sleep(1.0)
        assert service.stop() == 0
        load.join()
    assert load.failures == []
    assert load.answered > 100


class Load:
    """Clients that keep their connections, and clients that open one a request, until nobody listens."""

    def __init__(self, port: int, clients: int = 12) -> None:
        self._port = port
        self._threads = [
            threading.Thread(target=self._run, args=(number % 3 == 0, number)) for number in range(clients)
        ]
        self.answered = 0
        self.failures: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, fresh: bool, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            while True:
                if connection.sock is None:
                    try:
                        connection.connect()
                    except ConnectionRefusedError:
                        return
                path = "/slow" if number == 1 else "/"
                answer = ask(connection, "POST", path, b"ping")
                if answer.body != b"ping":
                    self.failures.append(f"{answer}")
                self.answered += 1
                if fresh:
                    connection.close()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()


def test_a_hangup_changes_nothing_and_sigint_ends(tmp_path: Path) -> None:
    with running(Service(tmp_path, SMALL, home=str(tmp_path))) as service:
        os.kill(service.pid, signal.SIGHUP)
        time.sleep(0.2)
        assert service.ask("POST", "/", b"on").body == b"on"
        os.kill(service.pid, signal.SIGINT)
        assert service.stop() == 0


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    with running(Service(tmp_path, SMALL, workers=2, home=str(tmp_path))) as service:
        before = pids(service)
        assert len(before) == 2
        with pytest.raises((OSError, http.client.HTTPException)):
            service.ask("POST", "/die", b"")
        deadline = time.monotonic() + 20
        while len(now := pids(service)) < 2 or now == before:
            assert time.monotonic() < deadline
        os.kill(service.pid, signal.SIGHUP)
        assert service.ask("POST", "/", b"on").body == b"on"
        assert service.stop() == 0


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    with running(Service(tmp_path, SMALL, workers=2, home=str(tmp_path))) as service:
        workers = pids(service)
        os.kill(service.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(lives(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def pids(service: Service) -> set[int]:
    """The workers that answer, asked often enough to meet each."""
    return {int(service.ask("GET", "/pid").body) for _ in range(40)}


def lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
