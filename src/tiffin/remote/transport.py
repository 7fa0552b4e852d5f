"""Transport: pools of connections to one service, kept alive between requests. The only file that knows httpcore.

Certificates are always verified, redirects are never followed, and a request ends when its time is over, however
slowly the other side goes on sending.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpcore

from tiffin.errors import InvalidConfig
from tiffin.remote.address import Address

#: What a request meets that gets no answer: nobody was reached, time was over, the connection broke or spoke no HTTP.
FAILURES: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)
TIMEOUTS: Final = (httpcore.TimeoutException,)

#: Connections of one client to one service.
_MOST: Final = 100
#: Seconds that an idle connection is kept: less than the services do, so that they seldom close it first.
_KEPT: Final = 30.0

Pool = httpcore.ConnectionPool
AsyncPool = httpcore.AsyncConnectionPool


def open_pool(address: Address, tls: ssl.SSLContext | None) -> Pool:
    """A pool for threads."""
    options = {"ssl_context": tls, "network_backend": _Timed(), **_limits()}
    proxy = _proxy(address)
    return httpcore.HTTPProxy(**proxy, **options) if proxy else httpcore.ConnectionPool(**options)


def open_async_pool(address: Address, tls: ssl.SSLContext | None) -> AsyncPool:
    """A pool for one event loop."""
    options = {"ssl_context": tls, **_limits()}
    proxy = _proxy(address)
    return httpcore.AsyncHTTPProxy(**proxy, **options) if proxy else httpcore.AsyncConnectionPool(**options)


def tls_context(address: Address, certificate: str, *, field: str) -> ssl.SSLContext | None:
    """What verifies a service: the authorities of the system, or those of the file ``certificate`` alone."""
    if address.scheme != "https":
        return None
    try:
        return ssl.create_default_context(cafile=certificate or None)
    except OSError as error:  # SSLError, of a file that holds no certificate, is one
        raise InvalidConfig(
            f"The certificate file {certificate!r} cannot be used: {error.strerror or error}.",
            field=field,
            hint="Name a PEM file of the authority that signed the service's certificate.",
        ) from error


def send(pool: Pool, request: httpcore.Request, seconds: float) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer to a request that may take so long in all."""
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    _time.deadline = time.monotonic() + seconds
    response = pool.handle_request(request)
    try:
        content = response.read()
    finally:
        response.close()
    return response.status, response.headers, content


async def send_async(
    pool: AsyncPool, request: httpcore.Request, seconds: float
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """As :func:`send`; the caller bounds the whole."""
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    response = await pool.handle_async_request(request)
    try:
        content = await response.aread()
    finally:
        await response.aclose()
    return response.status, response.headers, content


def new_request(
    method: str, address: Address, target: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> httpcore.Request:
    """A request for a path that is encoded already."""
    url = httpcore.URL(scheme=address.scheme, host=address.host, port=address.port, target=address.prefix + target)
    sized = [*headers, (b"content-length", str(len(body)).encode())] if body or method in {"POST", "PUT"} else headers
    return httpcore.Request(method, url, headers=sized, content=body)


class _Time(threading.local):
    deadline = 0.0


_time = _Time()


class _Stream(httpcore.NetworkStream):
    """A stream whose every step ends with the request that the thread is sending."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _time.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer did not come to its end in time")
        return self._stream.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _time.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.WriteTimeout("the request could not be sent in time")
        self._stream.write(buffer, left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Timed(httpcore.NetworkBackend):
    """Sockets of the system, each read and write bounded by the time that is left of the whole request."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._sockets.connect_tcp(host, port, timeout, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._sockets.sleep(seconds)


def _limits() -> dict[str, Any]:
    return {"max_connections": _MOST, "max_keepalive_connections": _MOST, "keepalive_expiry": _KEPT}


def _proxy(address: Address) -> dict[str, Any]:
    """The proxy that the environment names for an address; the loopback never has one."""
    if address.is_loopback or proxy_bypass(address.host):
        return {}
    proxies = getproxies()
    url = proxies.get(address.scheme) or proxies.get("all")
    return {"proxy_url": url} if url and url.startswith("http") else {}
