"""Cycle: one request and its answer, as uvicorn runs them, with less work for what most of them are.

A body that has arrived is handed over without an event, and an answer of one piece leaves in one piece: head and body
are written together, so that neither side of the connection is woken twice. All else is uvicorn's.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_LINE: Final = b"\r\n"
_CLOSE: Final = (b"connection: close", _LINE)


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    #: The start of an answer that waits for its body.
    _start: Any = None
    #: The whole body was handed over: whoever receives again waits for the caller to hang up.
    _received = False

    async def receive(self) -> ASGIReceiveEvent:
        if self.more_body or self._received or self.waiting_for_100_continue or self.disconnected:
            return await super().receive()
        self._received = True
        self.message_event.clear()
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    async def send(self, message: ASGISendEvent) -> None:
        if self._start is None and not self.response_started and message["type"] == "http.response.start":
            self._start = message
            self.response_started = True  # as far as anybody else can tell
            return
        start, self._start = self._start, None
        if start is None:
            await super().send(message)
        elif not self._sent_whole(start, message):
            self.response_started = False
            await super().send(start)
            await super().send(message)

    def _sent_whole(self, start: Any, message: Any) -> bool:
        """Write an answer at once where that can be done; whether it was."""
        body = message.get("body", b"")
        if message.get("more_body") or self.flow.write_paused or self.disconnected or self.scope["method"] == "HEAD":
            return False
        headers = [*self.default_headers, *start.get("headers", ())]
        head = [STATUS_LINE[start["status"]]]
        length = None
        for name, value in headers:
            if name == b"content-length":
                length = value
            elif name in {b"connection", b"transfer-encoding"}:
                return False
            head += (name, b": ", value, _LINE)
        if length is None or int(length) != len(body):
            return False
        if not self.keep_alive:
            head += _CLOSE
        head.append(_LINE)
        text = b"".join(head)
        lines = 2 + len(headers) + (not self.keep_alive)
        if not text.count(_LINE) == text.count(b"\n") == text.count(b"\r") == lines or b"\0" in text:
            return False  # a header that holds more than its line: uvicorn says what is wrong with it
        self.transport.write(text + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def begun(running: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Run a coroutine up to its first wait, at once; what has to be awaited for the rest, None where it is done.

    Python 3.12 calls this an eager task. Until its first wait the coroutine is in no task: it must not ask for one.
    """
    try:
        waiting = running.send(None)
    except StopIteration:
        return None
    return _rest(running, waiting)


async def _rest(running: Coroutine[Any, Any, None], waiting: Any) -> None:
    await _resumed(running, waiting)


@types.coroutine
def _resumed(running: Coroutine[Any, Any, None], waiting: Any) -> Generator[Any, Any, None]:
    """Wait for what a coroutine waits for, hand it what came of that, and so on."""
    while True:
        try:
            try:
                came = yield waiting
            except BaseException as error:  # noqa: BLE001  (a cancellation is the coroutine's own to deal with)
                waiting = running.throw(error)
            else:
                waiting = running.send(came)
        except StopIteration:
            return
