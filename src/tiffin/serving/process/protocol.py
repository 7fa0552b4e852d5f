"""Protocol: one HTTP connection, as uvicorn and httptools speak it, with bounds on what a peer may keep us waiting for.

It adds to uvicorn's: a limit on the bytes of a request's head, time limits on the arrival of a head and of a body,
answers in JSON where a request cannot be read, and ends of connections that lose no answer.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tiffin.serving.process.cycle import Cycle, begun

#: Bytes that the request line and headers of a request may have.
HEAD_BYTES: Final = 64 << 10
#: Seconds for which a connection stays open after we ended our half, so that what is on its way meets no reset.
LINGER: Final = 2.0
#: Seconds for which a quiet connection may still send a request when the server stops.
FAREWELL: Final = 0.5


class State(ServerState):
    """What the connections of a server share. Times are in seconds."""

    def __init__(self) -> None:
        super().__init__()
        #: The server is stopping: every answer is the last of its connection.
        self.stopping = False
        #: How long a head, and then a body, may take to arrive, and how long a connection may be quiet.
        self.head_time = 10.0
        self.body_time = 60.0
        self.quiet_time = 75.0


class Protocol(HttpToolsProtocol):
    """One connection."""

    server_state: State

    def __init__(
        self,
        config: Config,
        server_state: State,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Which part of a request is arriving, since when, and how many bytes of a head have arrived.
        self._part = ""
        self._since = self.loop.time()
        self._head = 0
        #: Our half is closed; what still arrives is not looked at.
        self._ended = False
        # Whether the application may run outside of a task, and whether one waits for the body of its request.
        self._eager = getattr(self.app, "eager", False)
        self._unbegun = False

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._part != "body":
            if not self._part:
                self._part, self._since, self._head = "head", self.loop.time(), 0
            self._head += len(data)
        super().data_received(data)
        if self._unbegun:
            self._begin(self.cycle)
        if self._part == "head" and self._head > HEAD_BYTES:
            self._refuse(431, "head_too_large", f"The head of a request may have {HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._part, self._since = "body", self.loop.time()
        version = self.parser.get_http_version()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self._place()
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self.server_state.stopping,
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:  # type: ignore[redundant-expr]  # None before the first
            self._unbegun = True  # the body has most often come along
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _place(self) -> None:
        """Put the parts of the URL into the scope."""
        url = httptools.parse_url(self.url)
        raw: bytes = url.path
        path = raw.decode("ascii")
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw
        self.scope["query_string"] = url.query or b""

    def on_message_complete(self) -> None:
        self._part, self._since, self._head = "", self.loop.time(), 0
        super().on_message_complete()
        if self._unbegun:
            self._begin(self.cycle)

    def _begin(self, cycle: RequestResponseCycle) -> None:
        """Have the application answer a request."""
        self._unbegun = False
        if self.transport.is_closing():
            return  # a request behind one after which the connection was to end
        if not self._eager:
            self._start_asgi_task(cycle, self.app)
        elif (rest := begun(cycle.run_asgi(self.app))) is not None:
            task = self.loop.create_task(rest)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def handle_websocket_upgrade(self) -> None:
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_request", "The request is not HTTP/1.1.")

    # How it ends

    def check_time(self) -> None:
        """End the connection where it keeps us waiting; called about once a second."""
        waited = self.loop.time() - self._since
        state = self.server_state
        if self._ended:
            if waited > LINGER:
                self.transport.abort()
        elif self._part == "head" and waited > state.head_time:
            self._refuse(408, "request_timeout", f"The head of the request did not arrive in {state.head_time:g} s.")
        elif self._part == "body" and waited > state.body_time:
            self._refuse(408, "request_timeout", f"The body of the request did not arrive in {state.body_time:g} s.")
        elif not self._part and self._idle and waited > (FAREWELL if state.stopping else state.quiet_time):
            self._end()

    def shutdown(self) -> None:
        if not self._idle:
            self.cycle.keep_alive = False
        elif not self._part:
            self.loop.call_later(FAREWELL + 0.05, self.check_time)
            self._since = self.loop.time()

    def on_response_complete(self) -> None:
        # As uvicorn's, but without a timer a request: check_time sees quiet connections.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._since = self.loop.time()
        if self.pipeline:
            self._begin(self.pipeline.pop()[0])

    @property
    def _idle(self) -> bool:
        """Whether every request that arrived was answered."""
        # uvicorn declares no None, which the cycle is before the first request.
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer in place of the application where it has not begun to, and end the connection."""
        if self._idle and self._part == "body":
            self._end()  # it was answered before it had all arrived
            return
        if not self._idle and self._part != "body":
            # What cannot be read follows a request that is still being answered, which is then the last.
            self.cycle.keep_alive = False
            self._ended = True
            return
        if self._idle or not self.cycle.response_started:
            body = msgspec.json.encode({"code": code, "message": message, "field": None, "hint": None})
            length = str(len(body)).encode()
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: " + length + b"\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head + body)
        if not self._idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._end()

    def _end(self) -> None:
        """End our half of the connection, and wait a little for the other."""
        if self._ended:
            return
        self._ended, self._since = True, self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER + 0.1, self.check_time)
        else:
            self.transport.close()
