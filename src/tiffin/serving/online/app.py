"""The online service: features of keys over HTTP, for Tiffin's clients and for Feast's.

::

    POST /v1/features/online         {"project", "features" | "feature_service", "entities" | "entity_rows"}
    POST /v1/push                    rows of one table as an Arrow stream, into both stores
    POST /get-online-features        these five in the shapes of Feast's feature server
    POST /push
    POST /write-to-online-store
    POST /materialize
    POST /materialize-incremental
    GET  /health                     200 while reads can be answered
    GET  /ready                      the same, with what is held and how old it is
    GET  /metrics                    Prometheus

The application is bare ASGI: a request for one row is answered in some ten microseconds, of which no framework would
leave much.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from tiffin._version import __version__
from tiffin.config import Config
from tiffin.errors import NotFound, PermissionDenied, StorageError, TiffinError, Unauthenticated, Unavailable, closest
from tiffin.refs import DEFAULT_PROJECT, check_project
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.denials import discreet
from tiffin.serving.access.gate import OpenGate, authorization_of, open_gate
from tiffin.serving.access.rules import OPEN, Rule
from tiffin.serving.logs import REQUEST_ID_HEADER, AccessLog, begin_request
from tiffin.serving.metrics.online import ServingFacts, ServingMetrics
from tiffin.serving.online.definitions import Definitions
from tiffin.serving.online.http import Answer, Gone, Receive, Request, Scope, Send, error_answer, fault, told
from tiffin.serving.online.limits import Busy, Limits, MethodNotAllowed, OutOfTime, Places, TooLarge, TooMany
from tiffin.serving.online.plans import Plans
from tiffin.serving.online.reads import Reads
from tiffin.serving.online.writes import Writes
from tiffin.serving.tracing import open_tracing
from tiffin.workspace import Workspace

Handler = Callable[[Request, Principal], Awaitable[Answer]]

_READ: Final = Rule(Role.READER, "read", "handler")
_PUSH: Final = Rule(Role.WRITER, "push", "handler")
_MATERIALIZE: Final = Rule(Role.WRITER, "materialize", "handler")


class Route(NamedTuple):
    """One path. ``name`` is what metrics call it, ``feast`` whether its errors have Feast's shape."""

    name: str
    method: str
    rule: Rule
    feast: bool = False


ROUTES: Final[Mapping[str, Route]] = {
    "/v1/features/online": Route("features_online", "POST", _READ),
    "/v1/push": Route("push_stream", "POST", _PUSH),
    "/get-online-features": Route("get_online_features", "POST", _READ, feast=True),
    "/push": Route("push", "POST", _PUSH, feast=True),
    "/write-to-online-store": Route("write_to_online_store", "POST", _PUSH, feast=True),
    "/materialize": Route("materialize", "POST", _MATERIALIZE, feast=True),
    "/materialize-incremental": Route("materialize_incremental", "POST", _MATERIALIZE, feast=True),
    "/health": Route("health", "GET", OPEN),
    "/ready": Route("ready", "GET", OPEN),
    "/metrics": Route("metrics", "GET", OPEN),
}
#: What metrics call the limit that refused a request.
_LIMITS: Final = {TooLarge: "body", Busy: "load", OutOfTime: "time"}
#: Collections of the youngest generation are this rare: a pause for one is what the slowest requests wait for.
_GC: Final = (50_000, 50, 100)


def create_app(config: Config | Mapping[str, Any]) -> Online:
    """The service as an ASGI application, which opens what it stands on when its lifespan begins."""
    options = config if isinstance(config, Config) else Config(config)
    options.set("serving_url", None)  # it is the service, and reads the store itself
    return Online(options)


class Online:
    """The application of one worker."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits = Limits(config)
        self._metrics_are_open = not config.getboolean("metrics_auth")
        self.workspace = Workspace(config)
        self.metrics = ServingMetrics()
        self.workspace.measure(self.metrics.ingestion)
        self.gate = open_gate(config, self.workspace)
        #: Who everybody is where access control is off.
        self._anyone = self.gate.admit(None) if isinstance(self.gate, OpenGate) else None
        self.definitions = Definitions(self.workspace, self.workspace.home / "serving" / _snapshot_name(config))
        project = check_project(config.get("project", DEFAULT_PROJECT))
        plans = Plans(self.definitions, self.workspace.places, self.gate, self.metrics, self._limits)
        self._tracing = open_tracing("tiffin-online", config.get("trace_endpoint"), config.getfloat("trace_share"))
        reads = Reads(plans, self.metrics, self._limits, project, self._tracing)
        self._writes = Writes(config, self.workspace, self.definitions, self.gate, self.metrics, self._limits, project)
        #: Requests are begun as they arrive, outside of a task: most are answered before they would have got one. The
        #: spans of a trace, though, must begin and end in one context.
        self.eager = not self._tracing.is_on
        self._room = Places(self._limits.requests, Busy, "requests")
        self._access = AccessLog.of(config, 0.0)
        self._handlers: dict[str, Handler] = {
            "features_online": reads.online,
            "get_online_features": reads.feast,
            "push": self._writes.push,
            "push_stream": self._writes.push_stream,
            "write_to_online_store": self._writes.write,
            "materialize": self._writes.materialize,
            "materialize_incremental": self._writes.materialize_incremental,
            "health": self._health,
            "ready": self._ready,
            "metrics": self._show_metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._live(receive, send)
            return
        began = time.perf_counter()
        request = Request(scope, receive)
        identity = begin_request(request.headers.get(REQUEST_ID_HEADER))
        route = ROUTES.get(request.path, _UNKNOWN)
        answer: Answer | None = None
        try:
            answer = await (self._traced(route, request) if self._tracing.is_on else self._answer(route, request))
        finally:
            # Anything else that is raised is a fault of ours: the caller hears that much, and the server logs the rest.
            body, status, headers = answer or fault()
            more = ((b"content-length", b"%d" % len(body)), (REQUEST_ID_HEADER, identity.encode()))
            await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
            await send({"type": "http.response.body", "body": body})
            seconds = time.perf_counter() - began
            self.metrics.request(route.name, status, seconds, request.project)
            self._access.write(request.method, request.path, status, seconds)

    async def _traced(self, route: Route, request: Request) -> Answer:
        headers = request.headers
        parent = headers.get(b"traceparent"), headers.get(b"tracestate")
        with self._tracing.request(route.name, request.method, *parent) as span:
            answer = await self._answer(route, request)
            span.set_attribute("http.response.status_code", answer.status)
            return answer

    async def _answer(self, route: Route, request: Request) -> Answer:
        """The answer, errors included."""
        principal = _NOBODY
        try:
            if request.method != route.method:
                self._refuse(route, request)
            if route.rule.role is None:
                return await self._handlers[route.name](request, _NOBODY)
            principal = self._anyone or await self.gate.admit_async(authorization_of(request.raw_headers))
            self._room.enter()
            try:
                return await self._handlers[route.name](request, principal)
            finally:
                self._room.leave()
        except Gone:
            return Answer(b"", 499, ())
        except TiffinError as error:
            self._count(error)
            return error_answer(told(discreet(error, principal)), feast=route.feast)

    def _refuse(self, route: Route, request: Request) -> None:
        """Raise where a route does not answer a method, or is none; HEAD is answered as GET."""
        if route is _UNKNOWN:
            raise NotFound(f"There is no route {request.path!r}.", field="path", hint=closest(request.path, ROUTES))
        if (request.method, route.method) != ("HEAD", "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            raise MethodNotAllowed(request.path, request.method, allowed)

    def _count(self, error: TiffinError) -> None:
        if isinstance(error, Unauthenticated):
            self.metrics.denied("unauthenticated")
        elif isinstance(error, PermissionDenied):
            self.metrics.denied("permission")
        elif isinstance(error, StorageError):
            self.metrics.store_error("online", error.code)
        elif isinstance(error, TooMany):
            self.metrics.limited(error.what)
        elif type(error) in _LIMITS:
            self.metrics.limited(_LIMITS[type(error)])

    async def _health(self, request: Request, principal: Principal) -> Answer:
        del request, principal
        self._check_able()
        return Answer(b"")

    async def _ready(self, request: Request, principal: Principal) -> Answer:
        """What is held: the version of the definitions and their age in seconds, null where it is not known."""
        del request, principal
        self._check_able()
        held = self.definitions
        body = {
            "status": "ready",
            "version": __version__,
            "registry_version": held.snapshot.version if held.snapshot else None,
            "snapshot_age_seconds": held.age,
        }
        return Answer(msgspec.json.encode(body))

    def _check_able(self) -> None:
        if self.definitions.snapshot is None:
            raise Unavailable("The service has no definitions yet.", hint="It waits for the registry.")
        if self.definitions.store is None:
            raise Unavailable("The online store cannot be opened.", hint="The service's log tells why.")

    async def _show_metrics(self, request: Request, principal: Principal) -> Answer:
        if not self._metrics_are_open:
            principal = await self.gate.admit_async(authorization_of(request.raw_headers))
            self.gate.require(principal, EVERY_PROJECT, Role.READER, action="metrics")
        accept = request.headers.get(b"accept")
        body, kind = await asyncio.to_thread(self.metrics.scrape, accept.decode("latin-1") if accept else None)
        return Answer(body, 200, ((b"content-type", kind.encode()),))

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: open everything, wait for the end, close it."""
        await receive()
        try:
            await asyncio.to_thread(self._open)
        except TiffinError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        # What lives now lives on: later collections need not look at it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._close)
        await send({"type": "lifespan.shutdown.complete"})

    def _open(self) -> None:
        self.gate.start()
        self.metrics.watch(self._facts)
        self.metrics.follow(self.gate.counts)
        self.metrics.start()
        self.definitions.start()

    def _close(self) -> None:
        self._writes.close()
        self.definitions.close()
        self.gate.close()
        self.metrics.close()
        self._tracing.close()
        self.workspace.close()

    def _facts(self) -> ServingFacts:
        held = self.definitions
        if held.snapshot is None:
            return ServingFacts(held.confirmed, -1, 0)
        tables = sum(not record.deleted for record in held.snapshot.records("FeatureTable"))
        return ServingFacts(held.confirmed, held.snapshot.version, tables)


def _snapshot_name(config: Config) -> str:
    """The file of the last snapshot: one for every registry that a home was used with."""
    registry = config.get("core_url") or config.get("registry")
    return f"registry-{blake2b(registry.encode(), digest_size=6).hexdigest()}.snapshot"


_NOBODY: Final = Principal("", {})
_UNKNOWN: Final = Route("unknown", "", OPEN)
