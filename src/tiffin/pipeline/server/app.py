"""The model server as an ASGI application.

::

    POST /v1/models/NAME:predict     {"instances": [{"driver_id": 1001}]}
    GET  /v1/models, /v1/models/NAME
    POST /v2/models/NAME/infer       tensors of keys, or of features
    GET  /v2, /v2/models/NAME, /v2/models/NAME/ready, /v2/health/live, /v2/health/ready
    GET  /health                     200 while predictions can be made
    GET  /metrics                    Prometheus
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tiffin._version import __version__
from tiffin.config import Config
from tiffin.errors import InvalidConfig, NotFound, PermissionDenied, TiffinError, Unauthenticated, closest
from tiffin.pipeline.model import Model
from tiffin.pipeline.server import protocol
from tiffin.pipeline.server.features import Features
from tiffin.pipeline.server.metrics import ModelMetrics
from tiffin.pipeline.server.predictor import Predictions, Predictor
from tiffin.pipeline.server.served import ServedLog
from tiffin.refs import FeatureRef
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.denials import discreet
from tiffin.serving.access.gate import authorization_of, open_gate
from tiffin.serving.access.rules import OPEN, Rule, require_all
from tiffin.serving.logs import REQUEST_ID_HEADER, AccessLog, begin_request, request_id
from tiffin.serving.online.http import Answer, Gone, Receive, Request, Scope, Send, error_answer, fault, told
from tiffin.serving.online.limits import Busy, Limits, MethodNotAllowed, Places
from tiffin.workspace import Workspace

Handler = Callable[[Request], Awaitable[Answer]]

_PREDICT: Final = Rule(Role.READER, "predict", "handler")


class Route(NamedTuple):
    """One path, after the model's name was put in. ``name`` is what metrics call it."""

    name: str
    method: str
    rule: Rule = OPEN


def create_app(config: Config | Mapping[str, Any]) -> ModelServer:
    """The server as an ASGI application: option ``model`` names the folder or file of its model."""
    options = config if isinstance(config, Config) else Config(config)
    place = options.get("model")
    if not place:
        raise InvalidConfig("No model is named.", field="model", hint="Give the folder that evaluate has written.")
    return ModelServer(options, Model.load(place))


def routes_of(name: str) -> dict[str, Route]:
    """All paths of a server whose model has this name."""
    return {
        f"/v1/models/{name}:predict": Route("predict", "POST", _PREDICT),
        f"/v2/models/{name}/infer": Route("infer", "POST", _PREDICT),
        "/v1/models": Route("models", "GET"),
        f"/v1/models/{name}": Route("model", "GET"),
        "/v2": Route("server", "GET"),
        "/v2/health/live": Route("live", "GET"),
        "/v2/health/ready": Route("ready", "GET"),
        f"/v2/models/{name}": Route("describe", "GET"),
        f"/v2/models/{name}/ready": Route("ready", "GET"),
        "/health": Route("ready", "GET"),
        "/metrics": Route("metrics", "GET"),
    }


class ModelServer:
    """The application of one worker."""

    def __init__(self, config: Config, model: Model) -> None:
        self._config = config
        self.model = model
        card = model.card
        self.workspace = Workspace(config)
        self.gate = open_gate(config, self.workspace)
        self.metrics = ModelMetrics(card)
        self._limits = Limits(config)
        self._room = Places(self._limits.requests, Busy, "requests")
        self._access = AccessLog.of(config, 0.0)
        self._metrics_are_open = not config.getboolean("metrics_auth")
        self._features = Features(config, self.workspace, card, self._limits.time)
        self._predictor = Predictor(model, self._features.read)
        self._routes = routes_of(card.name)
        self._projects = {FeatureRef.from_str(each).project or card.project for each in card.features}
        self._served = ServedLog(
            Path(self.workspace.folder("served_log", "served")),
            card,
            config.getfloat("served_log_share"),
            days=config.getfloat("served_log_days") if config.get("served_log_days") else None,
            projects=sorted(self._projects),
            erased=lambda: self.workspace.erased,
            count=self.metrics.logged,
        )
        self._version = card.dataset or "1"
        self._handlers: dict[str, Handler] = {
            "predict": self._predict,
            "infer": self._infer,
            "models": self._list,
            "model": self._tell_ready,
            "server": self._tell_server,
            "live": self._tell_live,
            "ready": self._tell_ready,
            "describe": self._describe,
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
        route = self._routes.get(request.path, _UNKNOWN)
        answer: Answer | None = None
        try:
            answer = await self._answer(route, request)
        finally:
            # Anything else that is raised is a fault of ours: the caller hears that much, and the server logs the rest.
            body, status, headers = answer or fault()
            more = ((b"content-length", b"%d" % len(body)), (REQUEST_ID_HEADER, identity.encode()))
            await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
            await send({"type": "http.response.body", "body": body})
            seconds = time.perf_counter() - began
            self.metrics.request(route.name, status, seconds)
            self._access.write(request.method, request.path, status, seconds)

    async def _answer(self, route: Route, request: Request) -> Answer:
        """The answer, errors included."""
        principal = _NOBODY
        try:
            if route is _UNKNOWN:
                raise NotFound(
                    f"There is no route {request.path!r}.",
                    field="path",
                    hint=closest(request.path, self._routes) or f"The model is {self.model.card.name!r}.",
                )
            if request.method != route.method and (request.method, route.method) != ("HEAD", "GET"):
                allowed = "GET, HEAD" if route.method == "GET" else route.method
                raise MethodNotAllowed(request.path, request.method, allowed)
            if route.rule.role is None:
                return await self._handlers[route.name](request)
            principal = await self.gate.admit_async(authorization_of(request.raw_headers))
            require_all(self.gate, principal, self._projects, route.rule.role, action=route.rule.action)
            self._room.enter()
            try:
                return await self._handlers[route.name](request)
            finally:
                self._room.leave()
        except Gone:
            return Answer(b"", 499, ())
        except TiffinError as error:
            self._count(route, error)
            return error_answer(told(discreet(error, principal)), feast=False)

    def _count(self, route: Route, error: TiffinError) -> None:
        if isinstance(error, Unauthenticated | PermissionDenied):
            self.metrics.denied("unauthenticated" if isinstance(error, Unauthenticated) else "permission")
        elif route.rule is _PREDICT:
            self.metrics.refused(error.code)

    async def _predict(self, request: Request) -> Answer:
        instances = protocol.read_v1(await request.body(self._limits))
        return Answer(protocol.tell_v1(self.model.card, await self._found(instances)))

    async def _infer(self, request: Request) -> Answer:
        identity, instances = protocol.read_v2(await request.body(self._limits), self.model.card)
        found = await self._found(instances)
        return Answer(protocol.tell_v2(self.model.card, self._version, identity or request_id(), found))

    async def _found(self, instances: list[Any]) -> Predictions:
        self._limits.check_rows(len(instances))
        found = await self._predictor.predict(instances)
        self.metrics.predicted(found)
        self._served.add(found, request_id())
        return found

    async def _list(self, request: Request) -> Answer:
        del request
        return Answer(msgspec.json.encode({"models": [self.model.card.name]}))

    async def _tell_server(self, request: Request) -> Answer:
        del request
        return Answer(msgspec.json.encode({"name": "tiffin", "version": __version__, "extensions": []}))

    async def _tell_live(self, request: Request) -> Answer:
        del request
        return Answer(msgspec.json.encode({"live": True}))

    async def _tell_ready(self, request: Request) -> Answer:
        del request
        await self._features.check()
        return Answer(msgspec.json.encode({"name": self.model.card.name, "ready": True}))

    async def _describe(self, request: Request) -> Answer:
        del request
        return Answer(protocol.describe_v2(self.model.card, self._version))

    async def _show_metrics(self, request: Request) -> Answer:
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
            await asyncio.to_thread(self.gate.start)
        except TiffinError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self.metrics.follow(self.gate.counts)
        self.metrics.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._features.aclose()
        await asyncio.to_thread(self._close)
        await send({"type": "lifespan.shutdown.complete"})

    def _close(self) -> None:
        self._served.close()
        self.gate.close()
        self.metrics.close()
        self.workspace.close()


_NOBODY: Final = Principal("", {})
_UNKNOWN: Final = Route("unknown", "")
