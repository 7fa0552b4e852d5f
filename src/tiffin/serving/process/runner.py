"""Runner: a service on a port, in one process or in several, from start to a stop that drops no request."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tiffin.config import Config
from tiffin.errors import InvalidConfig, MissingDependency
from tiffin.serving.access.gate import check_binding
from tiffin.serving.process import listen

#: Seconds between two ticks of uvicorn's keep-alive clock, which is not used: the protocol has its own.
_NEVER: Final = 86_400


def serve(
    application_factory: str,
    config: Mapping[str, Any] | Config,
    host: str = "127.0.0.1",
    port: int = 0,
    workers: int = 1,
    tls_cert: str = "",
    tls_key: str = "",
    *,
    what: str = "service",
    announce: Callable[[str], None] | None = None,
) -> int:
    """Run the ASGI application that ``module:factory`` makes of the options, until SIGTERM or SIGINT; the exit code.

    With several ``workers`` that many processes share the port, and one that dies is started again. ``tls_cert`` and
    ``tls_key`` are files in PEM. When all answer, ``announce`` is called with the line that says where, which by
    default is printed. A stop answers all that was received, for at most option ``serving_grace`` seconds.
    """
    options = config if isinstance(config, Config) else Config(config)
    check_binding(options, host)
    _check(workers, tls_cert, tls_key)
    _needs_uvicorn()
    sockets = listen.bind(host, port, workers)
    line = f"{what} listens on {listen.url(sockets[0], tls=bool(tls_cert))}"
    tell = announce or _print

    def work(own: Sequence[socket.socket], ready: Callable[[], None], lifeline: int | None) -> int:
        return _work(application_factory, options, own, (tls_cert, tls_key), ready, lifeline)

    if workers == 1:
        return work(sockets, lambda: tell(line), None)
    from tiffin.serving.process.supervisor import Supervisor

    grace = options.getfloat("serving_grace")
    return Supervisor(work, sockets, ready=lambda: tell(line), grace=grace).run()


def _work(
    application_factory: str,
    options: Config,
    sockets: Sequence[socket.socket],
    tls: tuple[str, str],
    ready: Callable[[], None],
    lifeline: int | None,
) -> int:
    """Serve in this process; the exit code."""
    import uvicorn

    from tiffin.serving.process.protocol import Protocol
    from tiffin.serving.process.server import Server

    module, _, name = application_factory.partition(":")
    application = getattr(importlib.import_module(module), name)(options)
    settings = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_NEVER,
        timeout_graceful_shutdown=round(options.getfloat("serving_grace")),
        ssl_certfile=tls[0] or None,
        ssl_keyfile=tls[1] or None,
    )
    server = Server(settings, ready=ready, lifeline=lifeline)
    server.server_state.head_time = options.getfloat("serving_head_timeout")
    server.server_state.quiet_time = options.getfloat("serving_keep_alive")
    server.run(list(sockets))
    return 0 if server.started else 1


def _check(workers: int, tls_cert: str, tls_key: str) -> None:
    if workers < 1:
        raise InvalidConfig(
            f"A service needs at least one worker, got {workers}.", field="workers", hint="Pass 1 or more."
        )
    if bool(tls_cert) != bool(tls_key):
        raise InvalidConfig(
            "TLS needs both a certificate and its key, one was given.",
            field="tls_key" if tls_cert else "tls_cert",
            hint="Give the paths of two files in PEM.",
        )
    for name, path in (("tls_cert", tls_cert), ("tls_key", tls_key)):
        if path and not Path(path).is_file():
            raise InvalidConfig(f"There is no file {path!r}.", field=name, hint="Give the path of a file in PEM.")


def _needs_uvicorn() -> None:
    for package in ("uvicorn", "httptools"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, extra="server", purpose="Running a service")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
