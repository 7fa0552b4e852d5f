"""A server that answers as a test tells it, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Scripted:
    """``say`` is what is sent back for a request; None hangs up."""

    say: Callable[[Asked], bytes | list[bytes] | None]
    pause: float = 0.0
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(plain, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        with suppress(OSError), plain:
            spoken = plain if self.tls is None else self.tls.wrap_socket(plain, server_side=True)
            with spoken:
                self._open.append(spoken)
                reader = spoken.makefile("rb")
                with reader:
                    while (asked := _read(reader, number)) is not None:
                        self.asked.append(asked)
                        parts = self.say(asked)
                        if parts is None:
                            return
                        for part in [parts] if isinstance(parts, bytes) else parts:
                            spoken.sendall(part)
                            time.sleep(self.pause)


def _read(reader: object, number: int) -> Asked | None:
    line: bytes = reader.readline()  # type: ignore[attr-defined]
    if not line or not line.isascii():  # the end, or TLS
        return None
    method, target, _ = line.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := reader.readline().strip()) != b"":  # type: ignore[attr-defined]
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
    return Asked(method, target, headers, body, number)


def answer(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    """An answer of HTTP/1.1."""
    head = {"content-type": "application/json", "content-length": str(len(body))}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def scripted(
    say: Callable[[Asked], bytes | list[bytes] | None], *, pause: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[Scripted]:
    server = Scripted(say, pause, tls)
    try:
        yield server
    finally:
        server.close()
