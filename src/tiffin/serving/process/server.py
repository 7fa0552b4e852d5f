"""Server: uvicorn's, with a stop that drops no request.

On SIGTERM or SIGINT no new connection begins; those that did are accepted; what was received is answered, with
``connection: close``; connections that stay quiet for a moment are closed, their sending half first, so that a request
which crosses that on its way finds a clean end and no reset. SIGHUP changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from tiffin.serving.process import listen
from tiffin.serving.process.protocol import Protocol, State


class Server(uvicorn.Server):
    """One process' server. ``ready`` is called when it answers; the end of ``lifeline`` (a pipe) stops it, too."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None], lifeline: int | None = None) -> None:
        super().__init__(config)
        self.server_state: State = State()
        self._ready = ready
        self._lifeline = lifeline

    async def main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._orphaned)
        self._ready()
        watching = loop.create_task(self._watch())
        try:
            await super().main_loop()
        finally:
            watching.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await listen.shut(sockets or [])
        self.server_state.stopping = True
        watching = asyncio.get_running_loop().create_task(self._watch())
        await super().shutdown(sockets)
        watching.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Unlike uvicorn's, signals are not raised again at the end: a stop that was asked for is a success.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A terminal sends SIGINT to workers as well, whose parent passes the stop on.
        stopping = (signal.SIGTERM,) if self._lifeline is not None else (signal.SIGTERM, signal.SIGINT)
        before: dict[signal.Signals, Any] = {each: signal.signal(each, self.handle_exit) for each in stopping}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def _watch(self) -> None:
        """Once a second, end the connections that have been in one state for too long."""
        while True:
            await asyncio.sleep(1.0)
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.check_time()

    def _orphaned(self) -> None:
        if self._lifeline is not None and not os.read(self._lifeline, 1):
            asyncio.get_running_loop().remove_reader(self._lifeline)
            self.should_exit = True
