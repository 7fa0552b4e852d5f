"""Edge: what surrounds every request of the registry service: its id, its time limit, its place in metrics and logs."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Final

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from tiffin.errors import Unavailable
from tiffin.registry.access import Principal
from tiffin.serving.access.guard import PRINCIPAL, rule_of
from tiffin.serving.logs import REQUEST_ID_HEADER, AccessLog, begin_request
from tiffin.serving.metrics import CoreMetrics
from tiffin.serving.tracing import Tracing

#: What services and watchers ask every second or so, by its action: no line of a log, unless it fails.
_POLLED: Final = frozenset({"version", "read access", "look"})
#: What a request counts as that met no route.
UNKNOWN: Final = "unknown"


class Edge:
    """An application with its edge: an ASGI callable."""

    def __init__(
        self, application: Litestar, metrics: CoreMetrics, access: AccessLog, tracing: Tracing, *, seconds: float
    ) -> None:
        self.application = application
        self._metrics = metrics
        self._access = access
        self._tracing = tracing
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._answer(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        answer = _Answer(send, begin_request(headers.get(REQUEST_ID_HEADER)))
        began = time.perf_counter()
        tracing = self._tracing.request(
            "core", scope["method"], headers.get(b"traceparent"), headers.get(b"tracestate")
        )
        with tracing as span:
            try:
                await self._limited(scope, receive, answer)
            finally:
                seconds = time.perf_counter() - began
                name = _name(scope)
                span.set_attribute("http.route", name)
                span.set_attribute("http.response.status_code", answer.status)
                self._metrics.request(name, answer.status, seconds)
                if answer.status >= HTTPStatus.BAD_REQUEST or name not in _POLLED:
                    self._access.write(scope["method"], scope["path"], answer.status, seconds, _caller(scope))

    async def _limited(self, scope: HTTPScope, receive: Receive, answer: _Answer) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self.application(scope, receive, answer)
        except TimeoutError:
            # The thread that works goes on: what it changes may be done, and doing it again changes nothing.
            self._metrics.limited("time")
            await answer.refuse(
                Unavailable(
                    f"The request was not answered within {self._seconds:g} s.",
                    hint="Try again: what was done meanwhile is not done twice.",
                )
            )


def _name(scope: HTTPScope) -> str:
    """What a request is counted as: the action of its route."""
    handler: object = scope.get("route_handler")
    rule = rule_of(handler) if isinstance(handler, BaseRouteHandler) else None
    return UNKNOWN if rule is None else rule.action


def _caller(scope: Scope) -> str:
    principal = scope.get("state", {}).get(PRINCIPAL)
    return principal.name if isinstance(principal, Principal) else ""


class _Answer:
    """Where an answer goes, on which its id and status are noted."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send = send
        self._identity = identity
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, self._identity.encode())]
        await self._send(message)

    async def refuse(self, error: Unavailable) -> None:
        """Answer with an error, if nothing was answered yet."""
        if self.status:
            return
        body = msgspec.json.encode(error.to_dict() | {"request_id": self._identity})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(max(1, round(error.retry_after))).encode()),
        ]
        await self({"type": "http.response.start", "status": error.status, "headers": headers})
        await self({"type": "http.response.body", "body": body, "more_body": False})
