"""HTTP of the online service, as bare ASGI: what is asked, what is answered, and errors in either shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from tiffin.errors import (
    CorruptData,
    InvalidArgument,
    InvalidReference,
    NotFound,
    StorageError,
    TiffinError,
    Unauthenticated,
    Unavailable,
)
from tiffin.serving.access.gate import challenge
from tiffin.serving.logs import request_id
from tiffin.serving.online.limits import Limits, MethodNotAllowed
from tiffin.serving.online.plans import NameCollision

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")


class Answer(NamedTuple):
    """What is sent back. Content length and request id are added on the way out."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


class Gone(Exception):
    """The caller hung up before the request had arrived: there is nobody to answer."""


class Request:
    """One request. ``headers`` holds the last of each name."""

    __slots__ = ("_receive", "headers", "method", "path", "project", "query", "raw_headers")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.raw_headers: Headers = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        #: The project that it turned out to be about; for metrics, so only one that exists.
        self.project = ""

    async def body(self, limits: Limits) -> bytes:
        """All of the body. TooLarge as soon as it is known to be longer than the service reads."""
        announced = self.headers.get(b"content-length")
        if announced is not None and announced.isdigit():
            limits.check_body(int(announced))
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise InvalidArgument(
                "The body of the request is compressed.", field="content-encoding", hint="Send it as it is."
            )
        message = await self._receive()
        if announced is not None and message["type"] == "http.request" and not message.get("more_body"):
            whole: bytes = message["body"]
            return whole
        parts: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            parts.append(message["body"])
            size += len(parts[-1])
            limits.check_body(size)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()
        raise Gone


def told(error: TiffinError) -> TiffinError:
    """The error as a caller is told: a disk of the service that refuses work is none of the caller's mistakes."""
    if isinstance(error, StorageError) and not isinstance(error, CorruptData):
        return Unavailable(error.message, field=error.field, hint=error.hint)
    return error


def error_answer(error: TiffinError, *, feast: bool) -> Answer:
    """An error in Tiffin's shape or in that of Feast's feature server."""
    body = _feast_body(error) if feast else msgspec.json.encode(error.to_dict() | {"request_id": request_id()})
    headers = [JSON]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", challenge(error).encode()))
    return Answer(body, error.status, tuple(headers))


def fault() -> Answer:
    """The answer where the service itself is at fault; what happened is in its log."""
    body = {
        "code": TiffinError.code,
        "message": "The service failed to answer.",
        "field": None,
        "hint": "Its log tells why, under the id of the request.",
        "request_id": request_id(),
    }
    return Answer(msgspec.json.encode(body), HTTPStatus.INTERNAL_SERVER_ERROR, (JSON, (b"connection", b"close")))


def _feast_body(error: TiffinError) -> bytes:
    """A JSON string that holds JSON, of a class that Feast's client knows; beside it what else is known, as data."""
    inner = {"module": "feast.errors", "class": _feast_class(error), **error.to_dict(), "message": str(error)}
    return msgspec.json.encode(msgspec.json.encode(inner).decode())


def _feast_class(error: TiffinError) -> str:
    if isinstance(error, NameCollision):
        return "FeatureNameCollisionError"
    if isinstance(error, InvalidReference):
        return "InvalidFeaturesParameterType"
    if isinstance(error, NotFound):
        return _FEAST_MISSING.get(error.field or "", "FeatureViewNotFoundException")
    return _FEAST_STATUS.get(error.status, "FeastError")


#: By the field at fault.
_FEAST_MISSING: Final = {
    "project": "ProjectNotFoundException",
    "feature_service": "FeatureServiceNotFoundException",
    "push_source_name": "PushSourceNotFoundException",
}
_FEAST_STATUS: Final = {401: "FeastPermissionError", 403: "FeastPermissionError"}
