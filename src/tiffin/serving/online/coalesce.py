"""Coalescer: reads that are wanted at the same time ask a remote store once.

While one reading is under way, those that are asked for meanwhile wait, and go together in the next. So a store beyond
a network is asked as often as it can answer, and for as much at once as has come together, without any delay being
chosen: a request that is alone is read at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tiffin.errors import TiffinError, Unavailable
from tiffin.online.base import AsyncReadable, TableId
from tiffin.serving.online.limits import OutOfTime

Wanted = Sequence[tuple[TableId, Sequence[bytes]]]
Values = list[list[bytes | None]]

#: Readings that are under way at once; a second one is prepared while the store answers the first.
FLIGHTS: Final = 2
#: Keys that are asked for at once: small requests don't wait for many large ones.
KEYS: Final = 4_096


class Coalescer:
    """Reads a store for one event loop. ``seen`` is told of how many requests each reading was for.

    A request that could not be read in ``timeout`` seconds gets Unavailable.
    """

    def __init__(self, store: AsyncReadable, *, timeout: float, seen: Callable[[int], None]) -> None:
        self._store = store
        self._timeout = timeout
        self._seen = seen
        self._waiting: deque[_Request] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def read(self, wanted: Wanted) -> Values:
        """The values of every table's keys, as the store gives them."""
        loop = asyncio.get_running_loop()
        request = _Request(wanted, loop.create_future())
        self._waiting.append(request)
        if not self._scheduled and len(self._flights) < FLIGHTS:
            # At the end of this turn of the loop, so that all requests which arrived in it go together.
            self._scheduled = True
            loop.call_soon(self._depart)
        alarm = loop.call_later(self._timeout, request.give_up, self._timeout)
        try:
            return await request.answer
        finally:
            alarm.cancel()

    def _depart(self) -> None:
        self._scheduled = False
        requests: list[_Request] = []
        keys = 0
        while self._waiting and keys < KEYS:
            request = self._waiting.popleft()
            if not request.answer.done():
                requests.append(request)
                keys += request.keys
        if requests:
            flight = asyncio.get_running_loop().create_task(self._fly(requests))
            self._flights.add(flight)
            flight.add_done_callback(partial(self._land, requests))

    def _land(self, requests: list[_Request], flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        fault = asyncio.CancelledError() if flight.cancelled() else flight.exception()
        if fault is not None:
            for request in requests:
                request.fail(fault)
        if self._waiting and not self._scheduled:
            self._depart()

    async def _fly(self, requests: list[_Request]) -> None:
        self._seen(len(requests))
        try:
            values = await self._store.read_async([each for request in requests for each in request.wanted])
        except Unavailable as error:
            for request in requests:
                request.fail(error)
        except TiffinError as error:
            await self._apart(requests, error)
        else:
            start = 0
            for request in requests:
                end = start + len(request.wanted)
                request.succeed(values[start:end])
                start = end

    async def _apart(self, requests: list[_Request], error: TiffinError) -> None:
        """Read each by itself: one that cannot be read is no reason for the others to fail."""
        if len(requests) == 1:
            requests[0].fail(error)
            return
        for request in requests:
            await self._fly([request])


class _Request:
    """One caller's wish and the future that it waits for."""

    __slots__ = ("answer", "keys", "wanted")

    def __init__(self, wanted: Wanted, answer: asyncio.Future[Values]) -> None:
        self.wanted = wanted
        self.answer = answer
        self.keys = sum(len(keys) for _, keys in wanted)

    def succeed(self, values: Values) -> None:
        if not self.answer.done():
            self.answer.set_result(values)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def give_up(self, timeout: float) -> None:
        self.fail(OutOfTime(f"The online store did not answer in {timeout:g} s.", hint="Try again in a moment."))
