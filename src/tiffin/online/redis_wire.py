"""Wire: one connection of an event loop to one Redis, shared by all that ask in that loop.

What is asked in one turn of the loop goes out together and answers come back in their order, so many waiters need one
connection and no turn. That is why reads have a client of their own: the driver's asyncio client takes a connection, a
task and a system call or two for each request, which costs several times as much.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis import exceptions

from tiffin.online.redis_address import Address

Host = tuple[str, int]
"""A host and port; the path of a socket stands for itself, with port 0."""


_pack: Callable[[Any], bytes] = hiredis.pack_command


class _Waiting:
    """Answers that are awaited together, until ``deadline`` in the loop's time."""

    __slots__ = ("answers", "count", "deadline", "future")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, deadline: float) -> None:
        self.future = future
        self.count = count
        self.deadline = deadline
        self.answers: list[Any] = []


class Wire(asyncio.Protocol):
    """A connection. Made by :func:`dial`; once it is lost it stays so, and ``lost`` says why."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=exceptions.InvalidResponse, replyError=exceptions.ResponseError)
        self._waiting: deque[_Waiting] = deque()
        self._unsent: list[bytes] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._transport: Any = None
        self.lost: Exception | None = None

    def ask(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> asyncio.Future[list[Any]]:
        """Send commands; the future holds their answers, error answers among them.

        It fails with the driver's ConnectionError or TimeoutError. Whoever gives up waiting may drop it.
        """
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None:
            future.set_exception(self.lost)
            return future
        waiting = _Waiting(future, len(commands), self._loop.time() + self._timeout)
        self._waiting.append(waiting)
        if self._alarm is None:
            self._alarm = self._loop.call_at(waiting.deadline, self._ring)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += map(_pack, commands)
        return future

    def close(self) -> None:
        """Give up the connection; whoever waits is told so."""
        self._lose(exceptions.ConnectionError("the connection was closed"))

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not False:
                waiting = self._waiting[0]
                waiting.answers.append(answer)
                if len(waiting.answers) == waiting.count:
                    self._waiting.popleft()
                    if not waiting.future.done():
                        waiting.future.set_result(waiting.answers)
        except (exceptions.InvalidResponse, IndexError) as error:
            self._lose(exceptions.ConnectionError(f"the server said what was not asked for: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exceptions.ConnectionError(f"the connection was lost: {exc}" if exc else "the server closed it"))

    def _send(self) -> None:
        """Send what was asked in this turn of the loop at once: a system call each would cost more than all else."""
        unsent, self._unsent = self._unsent, []
        if self.lost is None:
            self._transport.write(b"".join(unsent))

    def _ring(self) -> None:
        """The deadline of what was the oldest request has come."""
        self._alarm = None
        if not self._waiting:
            return
        due = self._waiting[0].deadline
        if due <= self._loop.time():
            self._lose(exceptions.TimeoutError(f"no answer in {self._timeout:g} s"))
        else:
            self._alarm = self._loop.call_at(due, self._ring)

    def _lose(self, why: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = why
        if self._alarm is not None:
            self._alarm.cancel()
        self._transport.abort()
        for waiting in self._waiting:
            if not waiting.future.done():
                waiting.future.set_exception(why)
        self._waiting.clear()


async def dial(address: Address, host: Host, *, tls: ssl.SSLContext | None, sentinel: bool = False) -> Wire:
    """A connection to one server, or sentinel, of an address, authenticated and in its database."""
    loop = asyncio.get_running_loop()

    def made() -> Wire:
        return Wire(address.timeout)

    try:
        async with asyncio.timeout(address.timeout):
            if address.kind == "unix":
                _, wire = await loop.create_unix_connection(made, address.path)
            else:
                name = host[0] if tls is not None else None
                _, wire = await loop.create_connection(made, *host, ssl=tls, server_hostname=name)
    except TimeoutError:
        raise exceptions.TimeoutError(f"no connection to {host[0]}:{host[1]} in {address.timeout:g} s") from None
    greetings = _greetings(address, sentinel=sentinel)
    try:
        answers = await wire.ask(greetings) if greetings else []
    except BaseException:
        wire.close()
        raise
    for answer in answers:
        if isinstance(answer, exceptions.ResponseError):
            wire.close()
            raise answer
    return wire


def _greetings(address: Address, *, sentinel: bool) -> list[tuple[bytes | str | int, ...]]:
    found: list[tuple[bytes | str | int, ...]] = []
    username, password = (
        (address.sentinel_username, address.sentinel_password) if sentinel else (address.username, address.password)
    )
    if password:
        found.append(("AUTH", username, password) if username else ("AUTH", password))
    if address.database and not sentinel:
        found.append(("SELECT", address.database))
    return found


def tls_context(address: Address) -> ssl.SSLContext | None:
    """What the certificates of an address's servers are verified with; None where it does not ask for TLS."""
    if not address.tls:
        return None
    context = ssl.create_default_context(cafile=address.ssl_ca_certs or None)
    context.check_hostname = address.ssl_check_hostname and address.ssl_verify
    if not address.ssl_verify:
        context.verify_mode = ssl.CERT_NONE
    if address.ssl_certfile:
        context.load_cert_chain(address.ssl_certfile, address.ssl_keyfile or None)
    return context


#: What an asking connection says first to the node that a key is moving to.
ASKING: Final = ("ASKING",)
