"""Errors of the registry service as answers: every one is JSON of one shape, whatever raised it.

::

    {"code": "not_found", "message": "...", "field": "name", "hint": "...", "request_id": "..."}
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from tiffin.errors import (
    CorruptData,
    InvalidArgument,
    PermissionDenied,
    StorageError,
    TiffinError,
    Unauthenticated,
    Unavailable,
)
from tiffin.registry.access import Principal
from tiffin.serving.access.denials import discreet
from tiffin.serving.access.gate import challenge
from tiffin.serving.access.guard import PRINCIPAL
from tiffin.serving.core.state import Core
from tiffin.serving.logs import request_id

Asked = Request[Any, Any, Any]

#: Seconds after which a caller may ask again while the database is away.
RETRY_AFTER: Final = 1.0

#: What the framework refuses by itself, in the words of our tree.
_CODES: Final = {404: "not_found", 405: "unsupported", 503: "unavailable"}

_log = logging.getLogger(__name__)


class ErrorAnswers:
    """The handlers of an application's errors."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def handlers(self) -> ExceptionHandlersMap:
        """By the class of what is raised."""
        return {
            TiffinError: self._ours,
            HTTPException: self._frameworks,
            RecursionError: self._too_deep,
            Exception: self._unexpected,
        }

    def _ours(self, request: Asked, error: TiffinError) -> Response[dict[str, Any]]:
        principal = request.scope["state"].get(PRINCIPAL)
        if isinstance(principal, Principal):
            error = discreet(error, principal)
        headers: dict[str, str] = {}
        status = error.status
        if isinstance(error, StorageError) and not isinstance(error, CorruptData):
            status = HTTPStatus.SERVICE_UNAVAILABLE  # it is our database that refused, not the caller who erred
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = challenge(error)
            self._core.metrics.denied("unauthenticated")
        elif isinstance(error, PermissionDenied):
            self._core.metrics.denied("permission")
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            wait = error.retry_after if isinstance(error, Unavailable) else RETRY_AFTER
            headers["Retry-After"] = str(max(1, round(wait)))
            self._core.metrics.store_error("registry", error.code)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.warning("%s %s: %s", request.method, request.url.path, error)
        return _answer(request, error.to_dict(), status, headers)

    def _frameworks(self, request: Asked, error: HTTPException) -> Response[dict[str, Any]]:
        status, message = error.status_code, error.detail
        field = hint = None
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self._core.metrics.limited("body")
            message = "The body of the request is too large."
            hint = "Option serving_max_body of the service says how large it may be."
        elif status == HTTPStatus.NOT_FOUND:
            message, hint = f"There is nothing at {request.url.path!r}.", "The schema at /schema lists all paths."
        elif status == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow") or (error.headers or {}).get("allow")
            message = f"{request.url.path!r} does not answer {request.method}."
            hint = f"Use {allowed}." if allowed else "The schema at /schema lists what each path answers."
        elif isinstance(error.extra, list) and error.extra:
            # The values did not fit their types: as with every wrong argument, that is 422.
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            field = str(error.extra[0].get("key", "")) or None
            reason = str(error.extra[0].get("message", message))
            missing = reason == repr(field)  # which is all that is said of a body that is not there
            message = f"The request cannot be read: {'there is none' if missing else reason}."
            hint = "The schema at /schema tells what each path takes."
        elif isinstance(error.extra, dict) and "hint" in error.extra:  # of our own
            field, hint = error.extra["field"], error.extra["hint"]
        elif isinstance(error, ValidationException):
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._unexpected(request, error)
        code = _CODES.get(status, InvalidArgument.code)
        plain = {"code": code, "message": message, "field": field, "hint": hint}
        return _answer(request, plain, status, error.headers or {})

    def _too_deep(self, request: Asked, _: RecursionError) -> Response[dict[str, Any]]:
        error = InvalidArgument("The body of the request is nested too deeply.", hint="No definition is.")
        return _answer(request, error.to_dict(), error.status, {})

    def _unexpected(self, request: Asked, error: Exception) -> Response[dict[str, Any]]:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        plain = {
            "code": TiffinError.code,
            "message": "The service failed at this request.",
            "field": None,
            "hint": "Its log holds the cause under the request's id.",
        }
        return _answer(request, plain, HTTPStatus.INTERNAL_SERVER_ERROR, {})


def _answer(request: Asked, plain: dict[str, Any], status: int, headers: dict[str, str]) -> Response[dict[str, Any]]:
    return Response(
        plain | {"request_id": request_id()}, status_code=status, headers=headers, media_type="application/json"
    )
