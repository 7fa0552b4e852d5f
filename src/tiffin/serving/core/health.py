"""The routes for those who watch the service, and for callers who ask who they are."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, get, route
from litestar.enums import HttpMethod

from tiffin._version import __version__
from tiffin.errors import Unavailable
from tiffin.registry.access import Role, named
from tiffin.serving.access.gate import OpenGate
from tiffin.serving.access.guard import OPEN, ruled
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.routes import Caller, Here
from tiffin.serving.core.state import Core

_LOOK: Final = (HttpMethod.GET, HttpMethod.HEAD)


class Health(msgspec.Struct):
    """``age`` is in seconds since the database confirmed the definitions, null where it never did."""

    status: str
    version: str
    registry_version: int
    age: float | None


class WhoAmI(msgspec.Struct):
    """The caller as the service knows it: a role by project, ``*`` for every one; ``auth`` False: it asks nobody."""

    name: str
    roles: dict[str, str]
    auth: bool


@route("/health", http_method=_LOOK, opt=ruled(OPEN), sync_to_thread=False)
def health(core: Here) -> Health:
    """200 while reads are answered, if from what is held alone."""
    return _health(core)


@route("/ready", http_method=_LOOK, opt=ruled(OPEN), sync_to_thread=False)
def ready(core: Here) -> Health:
    """200 while reads and changes are answered, 503 while the database is away."""
    if core.is_away:
        raise _away()
    return _health(core)


@get("/api/v1/whoami", opt=ruled(Rule(Role.READER, "whoami", "handler")), sync_to_thread=False, tags=["access"])
def whoami(core: Here, caller: Caller) -> WhoAmI:
    """Who the caller is, and what it may do."""
    return WhoAmI(caller.name, named(caller.roles), not isinstance(core.gate, OpenGate))


@get("/metrics", sync_to_thread=True)
def metrics(core: Here, request: Request[Any, Any, Any]) -> Response[bytes]:
    """The metrics of all workers, for Prometheus."""
    body, kind = core.metrics.scrape(request.headers.get("accept"))
    # The framework says itself in which letters a text is.
    return Response(body, media_type=kind.removesuffix("; charset=utf-8") if kind.startswith("text/") else kind)


def watching(*, metrics_auth: bool) -> Router:
    """The routes of this module. With ``metrics_auth``, metrics are for readers of every project."""
    rule = Rule(Role.READER, "metrics", "every") if metrics_auth else OPEN
    return Router(
        path="/", route_handlers=[health, ready, whoami, Router("/", route_handlers=[metrics], opt=ruled(rule))]
    )


def _health(core: Core) -> Health:
    held = core.held
    if held is None:
        raise _away()
    age = core.age
    word = "ok" if not core.is_away else "the database is away: reads go on from what is held, changes do not"
    return Health(word, __version__, held.version, None if math.isinf(age) else round(age, 3))


def _away() -> Unavailable:
    return Unavailable("The database is away.", hint="Try again later.")
