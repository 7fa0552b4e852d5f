"""The registry service: everything that clients do with a registry, over HTTP.

JSON in and out; integers are exact. Errors are ``{"code", "message", "field", "hint", "request_id"}``. ``?`` marks
parameters of the query, and ``{}`` a body. Lists come in pages: ``limit`` and ``cursor`` in, ``{"items",
"next_cursor"}`` out; ``label=KEY=VALUE`` may stand several times. The whole is described by OpenAPI at ``/schema``.

::

    GET    /health                                        200 while reads are answered
    GET    /ready                                         503 while the database is away
    GET    /metrics                                       Prometheus
    GET    /schema  /schema/openapi.json                  OpenAPI
    /api/v1
    GET    /whoami                                        who the caller is, and its roles
    GET    /version                                       {"version", "view"}: cheap, for readers that poll
    GET    /contents ?since ?view                         what changed since then, of what the caller may read
    GET    /dump                                          the whole history, as JSON lines
    GET    /access ?since                                 tokens as hashes, for services that admit callers
    GET    /tokens                                        those that the caller may govern
    POST   /tokens {"name", "roles", "expires"}           a new one, whose text is told once
    DELETE /tokens/ID
    GET    /audit ?project ?principal ?action ?since ?until ?denied ?limit
    POST   /audit {"events"}                              what another service did or denied
    GET    /erasures ?project                             which keys were erased, and how far the work is
    GET    /erasures/keys ?since                          erased keys as hashes, for writers
    POST   /projects/P/erasures/salt                      the secret of the hashes
    POST   /projects/P/erasures {"entity", "digests"}     keys that are erased from here on
    PUT    /projects/P/erasures/ID {"state", "report"}    how far the work is
    GET    /search ?text ?project ?limit ?cursor          features by the words that describe them
    GET    /projects ?archived ?limit ?cursor             those that the caller may read
    POST   /projects {"name"}
    POST   /projects/P/archive
    POST   /projects/P/plan {"objects"}                   what an apply would change
    POST   /projects/P/apply {"objects", "allow_breaking"}
    GET    /projects/P/features ?entity ?label ?limit ?cursor
    /projects/P/entities   /projects/P/feature-tables   /projects/P/feature-services
    GET    /  ?label ?limit ?cursor
    GET    /NAME ?revision
    DELETE /NAME ?allow_breaking
    GET    /NAME/history
    GET    /NAME/diff ?a ?b
    POST   /NAME/rollback {"revision", "allow_breaking"}
    /api/v1/jobs
    GET    /  ?project ?table ?include_terminated ?limit ?cursor
    POST   /  {a job that is about to start}
    GET    /ID
    GET    /ID/log
    POST   /ID/cancel
    POST   /ID/finish {"report", "outcome", "error"}
    POST   /ID/fail {"heartbeat", "reason"}
    PUT    /ID/output {"uri"}
    POST   /reports {"reports"}                           progress of running jobs; tells which should stop
    GET    /api/v1/schedules ?project                     tables that are materialised again and again
    PUT    /api/v1/projects/P/schedules/T {"cron", "timespan"}
    DELETE /api/v1/projects/P/schedules/T
    /api/v1/control                                       for controllers; most under their lease
    POST   /managed {"hashes"}                            jobs of controllers
    POST   /start {"job", "fence"}
    POST   /stop {"id", "fence"}
    POST   /run {"run", "job", "fence"}                   claim a run of a schedule
    POST   /adopt {"job"}                                 for the process that was started
    POST   /prune {"jobs_before", "audit_before"}         for admins of every project
    /api/v1/leases
    GET    /                                              those that are held
    POST   /take {"name", "owner", "seconds"}             take or renew one
    POST   /release {"name", "owner"}

Changes name their author with ``by`` (in the body, or the query of DELETE), which counts where access control is off;
where it is on, it is the caller's own name.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from tiffin._version import __version__
from tiffin.config import Config
from tiffin.errors import NameWarning
from tiffin.registry.access import Principal
from tiffin.serving.access.guard import OPEN, Guard, principal_of, ruled
from tiffin.serving.core import access, contents, control, definitions, health
from tiffin.serving.core.changes import Changes
from tiffin.serving.core.edge import Edge
from tiffin.serving.core.erasures import ErasureRoutes
from tiffin.serving.core.errors import ErrorAnswers
from tiffin.serving.core.jobs import Jobs
from tiffin.serving.core.leases import LeaseRoutes
from tiffin.serving.core.loop import ControlLoop
from tiffin.serving.core.projects import Projects
from tiffin.serving.core.search import Search
from tiffin.serving.core.state import Core
from tiffin.serving.logs import AccessLog
from tiffin.serving.tracing import open_tracing

#: Requests that wait for the database at once, each in a thread; more wait for a thread.
THREADS: Final = 32
_CONTROLLERS: Final = (
    contents.Reading,
    Search,
    Projects,
    Changes,
    definitions.Entities,
    definitions.FeatureTables,
    definitions.FeatureServices,
    Jobs,
    LeaseRoutes,
    control.Control,
    control.ScheduleRoutes,
    access.Access,
    ErasureRoutes,
)


class _Schema(Router):
    """The router of the schema, without the framework's page for what is not there: errors have one shape."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


class _Application(Litestar):
    """Without the framework's support of other kinds of models, which takes a third of a second to load."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(config: Config | Mapping[str, Any]) -> Edge:
    """The service as an ASGI application, which opens its database when its lifespan begins."""
    options = config if isinstance(config, Config) else Config(config)
    core = Core(options)
    tracing = open_tracing("tiffin-core", options.get("trace_endpoint"), options.getfloat("trace_share"))
    application = _Application(
        route_handlers=[
            health.watching(metrics_auth=options.getboolean("metrics_auth")),
            Router("/api/v1", route_handlers=[*_CONTROLLERS]),
        ],
        dependencies={
            "core": Provide(lambda: core, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
        },
        guards=[Guard(core.gate)],
        before_request=_check_media_type,
        exception_handlers=ErrorAnswers(core).handlers,
        lifespan=[_lifespan(core, tracing.close)],
        openapi_config=_openapi(),
        request_max_body_size=options.getint("serving_max_body"),
        logging_config=None,
    )
    seconds = options.getfloat("core_timeout")
    return Edge(application, core.metrics, AccessLog.of(options, 1.0), tracing, seconds=seconds)


def _caller(request: Request[Any, Any, Any]) -> Principal:
    return principal_of(request)


async def _check_media_type(request: Request[Any, Any, Any]) -> None:
    """Refuse a body of another type than JSON, or a compressed one, before it is read."""
    if "data" not in request.route_handler.parsed_fn_signature.parameters:
        return
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in {"application/json", ""}:
        raise _unread(f"The body is of type {given!r}.", "content-type", "Send JSON, as application/json.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise _unread("The body is compressed.", "content-encoding", "Send it as it is.")


def _unread(message: str, field: str, hint: str) -> HTTPException:
    return HTTPException(detail=message, status_code=415, extra={"field": field, "hint": hint})


def _lifespan(core: Core, close_tracing: Callable[[], None]) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        # Known names are warned of where they are declared, by the client; here nobody would read it.
        warnings.filterwarnings("ignore", category=NameWarning)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="tiffin-core"))
        controlling = ControlLoop(core.workspace)
        await loop.run_in_executor(None, core.start)
        controlling.start()
        try:
            yield
        finally:
            await loop.run_in_executor(None, controlling.close)
            await loop.run_in_executor(None, core.close)
            await loop.run_in_executor(None, close_tracing)

    return lifespan


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Tiffin core",
        version=__version__,
        description="The registry service of Tiffin: definitions, their history, and jobs.",
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        openapi_router=_Schema("/schema", route_handlers=[], opt=ruled(OPEN)),
    )
