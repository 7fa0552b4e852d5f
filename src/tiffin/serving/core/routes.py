"""Routes: how a handler of the registry service is declared: method, path, and the rule of who is answered.

Handlers are plain functions, and run in a thread: they wait for the database.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from tiffin.registry.access import Principal
from tiffin.serving.access.guard import ruled
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.state import Core

#: What handlers are given: what all of them share, and who calls.
Here = NamedDependency[Core]
Caller = NamedDependency[Principal]
#: A name in the path.
InPath = FromPath[str]

#: The greatest number that every database holds.
GREATEST: Final = 2**63 - 1
#: A text that every database holds: PostgreSQL stores no NUL.
PLAIN: Final = r"^[^\x00]*$"


class Problem(msgspec.Struct):
    """An error. ``code`` names its kind and ``field`` what is at fault; ``hint`` says what to do."""

    code: str
    message: str
    field: str | None = None
    hint: str | None = None
    request_id: str = ""


_PROBLEMS: Final = {
    400: "The request is not JSON.",
    401: "No credentials, or such as are not known.",
    403: "The caller's role does not allow it.",
    404: "What was named does not exist.",
    409: "The state of things forbids it, or another writer was first.",
    413: "The body is too large.",
    415: "The body is of another type than JSON.",
    422: "The request breaks a rule; `field` says where.",
    503: "The database is away, or did not answer in time: try again after `Retry-After` seconds.",
}


class _Shared(dict[int, ResponseSpec]):
    """The framework copies what a handler is declared with, deeply and several times; this stays one."""

    def __deepcopy__(self, _: object) -> _Shared:
        return self


_RESPONSES: Final = _Shared((code, ResponseSpec(Problem, description=text)) for code, text in _PROBLEMS.items())


def answers(
    method: Literal["GET", "POST", "PUT", "DELETE"], path: str, rule: Rule, *, status: int = 200
) -> HTTPRouteHandler:
    """The decorator of a handler. Every one has a rule: one without could not be declared."""
    return HTTPRouteHandler(
        path,
        http_method=method,
        opt=ruled(rule),
        status_code=status,
        sync_to_thread=True,
        responses=_RESPONSES,
    )
