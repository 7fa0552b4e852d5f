"""AsyncConnection: a service, asked without blocking the event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from tiffin.remote.answers import JSON, Answer, decoded
from tiffin.remote.http import ConnectionOptions, Outcome, Requests, target_of
from tiffin.remote.retry import Attempts

if TYPE_CHECKING:
    from tiffin.remote import transport


class AsyncConnection(Requests):
    """As :class:`~tiffin.remote.http.Connection`, for coroutines; each event loop has connections of its own.

    A coroutine that is cancelled gives its connection back or closes it. The token is fetched in a thread, where it
    is not at hand.
    """

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        super().__init__(address, **options)
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, transport.AsyncPool]
        self._pools = weakref.WeakKeyDictionary()

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path; parameters that are None are left out, and lists are repeated."""
        return decoded(self.service, await self.exchange("GET", path, params=params))

    async def post(self, path: str, body: Any, *, retry: bool = False) -> Any:
        """Send ``body`` as JSON; the JSON of the answer."""
        content = msgspec.json.encode(body)
        return decoded(self.service, await self.exchange("POST", path, body=content, body_type=JSON, retry=retry))

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        body_type: str | None = None,
        accept: str = JSON,
        headers: Mapping[str, str] | None = None,
        retry: bool = False,
    ) -> Answer:
        """As the other connection's."""
        from tiffin.remote import transport

        attempts = Attempts(self.timeout, retry=retry or method in self.IDEMPOTENT)
        target = target_of(path, params or {})
        more = [(name.encode(), text.encode()) for name, text in (headers or {}).items()]
        outcome = Outcome(self, attempts)
        try:
            async with asyncio.timeout(self.timeout):
                while True:
                    sent = [*await self._headers(accept, body_type), *more]
                    request = transport.new_request(method, self.address, target, sent, body)
                    try:
                        status, found, content = await transport.send_async(self._pool(), request, attempts.remaining)
                    except transport.FAILURES as error:
                        pause = outcome.failed(error)
                    else:
                        answer, pause = outcome.answered(status, found, content)
                        if answer is not None:
                            return answer
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise self.late(self.timeout) from None

    async def aclose(self) -> None:
        """Close the connections of the running loop; a later request opens them again."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    def _pool(self) -> transport.AsyncPool:
        from tiffin.remote import transport

        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            tls = transport.tls_context(self.address, self.certificate, field=self.certificate_option)
            pool = self._pools[loop] = transport.open_async_pool(self.address, tls)
        return pool

    async def _headers(self, accept: str, body_type: str | None) -> list[tuple[bytes, bytes]]:
        if self.token_is_at_hand:
            return self.headers(accept, body_type)
        return await asyncio.to_thread(self.headers, accept, body_type)
