"""``tiffin serve core``, ``online`` and ``model``: the services, in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tiffin._version import __version__
from tiffin.cli import output
from tiffin.cli.session import Session, command, group

if TYPE_CHECKING:
    from tiffin.config import Config

CORE_PORT: Final = 6565
ONLINE_PORT: Final = 6566
MODEL_PORT: Final = 8080

_Host = Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")]
_Port = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")]
_Workers = Annotated[int, typer.Option(metavar="N", min=1, help="Processes that share the port.")]
_Cert = Annotated[str, typer.Option(metavar="FILE", help="Certificate in PEM: TLS is spoken.")]
_Key = Annotated[str, typer.Option(metavar="FILE", help="The certificate's private key.")]
_Auth = Annotated[
    str | None, typer.Option(metavar="HOW", help="How callers are known: none, tokens, oidc, or tokens,oidc.")
]
_Anonymous = Annotated[
    bool, typer.Option("--allow-anonymous", help="Without access control, listen beyond this machine nevertheless.")
]

app = group("serve", "Run a service in the foreground.")


@command(app, "core", example="tiffin serve core\ntiffin serve core --host 0.0.0.0 --auth tokens --workers 2")
def core(
    session: Session,
    host: _Host = "127.0.0.1",
    port: _Port = CORE_PORT,
    workers: _Workers = 1,
    tls_cert: _Cert = "",
    tls_key: _Key = "",
    auth: _Auth = None,
    allow_anonymous: _Anonymous = False,
) -> None:
    """Run the registry service: definitions and jobs of a team.

    They are kept in the database of option registry, such as postgresql+psycopg://host/name; without it in the home.
    A stop (Ctrl-C or SIGTERM) answers what was received.
    """
    from tiffin.deployment import registry_url

    config = _configured(session, auth, allow_anonymous=allow_anonymous)
    config.set("core_url", None)  # it is the service
    stands_on = {"registry": registry_url(config)}
    _run(session, config, "core", host, port, workers, (tls_cert, tls_key), stands_on)


@command(
    app, "online", example="tiffin serve online\ntiffin serve online --workers 4 --tls-cert tls.crt --tls-key tls.key"
)
def online(
    session: Session,
    host: _Host = "127.0.0.1",
    port: _Port = ONLINE_PORT,
    workers: _Workers = 1,
    tls_cert: _Cert = "",
    tls_key: _Key = "",
    auth: _Auth = None,
    allow_anonymous: _Anonymous = False,
) -> None:
    """Run the online service, which answers reads of features and takes pushes.

    Definitions come from option core_url or registry, rows from option redis_host or online_store; without them both
    are those of the home. A stop (Ctrl-C or SIGTERM) answers what was received.
    """
    from tiffin.deployment import has_core, home_store, online_uri, registry_url

    config = _configured(session, auth, allow_anonymous=allow_anonymous)
    config.set("serving_url", None)  # it is the service
    if online_uri(config) is None:
        config.set("online_store", home_store(config))  # with a registry service, no store is meant unless it is said
    definitions = config.get("core_url") if has_core(config) else registry_url(config)
    stands_on = {"definitions": definitions, "rows": str(online_uri(config))}
    _run(session, config, "online", host, port, workers, (tls_cert, tls_key), stands_on)


@command(
    app,
    "model",
    example="tiffin serve model --model pipeline-run/evaluation\n"
    "tiffin serve model --model gs://models/sales --workers 2 --auth tokens --host 0.0.0.0",
)
def model(
    session: Session,
    folder: Annotated[str, typer.Option("--model", metavar="DIR", help="The folder, or bucket, of the model.")] = "",
    host: _Host = "127.0.0.1",
    port: _Port = MODEL_PORT,
    workers: _Workers = 1,
    tls_cert: _Cert = "",
    tls_key: _Key = "",
    auth: _Auth = None,
    allow_anonymous: _Anonymous = False,
) -> None:
    """Run a model server, which answers with predictions for keys, in the protocols of KServe.

    Features come from option serving_url, or from the online store; the model, without --model, from option model. It
    is read once, at the start. A stop (Ctrl-C or SIGTERM) answers what was received.
    """
    from tiffin.deployment import has_serving, online_uri
    from tiffin.pipeline.server import APPLICATION

    config = _configured(session, auth, allow_anonymous=allow_anonymous)
    if folder:
        config.set("model", folder)
    rows = config.get("serving_url") if has_serving(config) else str(online_uri(config))
    stands_on = {"model": config.get("model"), "rows": rows}
    _run(session, config, "model", host, port, workers, (tls_cert, tls_key), stands_on, APPLICATION)


def _configured(session: Session, auth: str | None, *, allow_anonymous: bool) -> Config:
    config = session.config
    if auth is not None:
        config.set("auth", auth)
    if allow_anonymous:
        config.set("allow_anonymous", "true")
    return config


def _run(
    session: Session,
    config: Config,
    what: str,
    host: str,
    port: int,
    workers: int,
    tls: tuple[str, str],
    stands_on: dict[str, str],
    application: str = "",
) -> None:
    """Check what can be checked, and serve until the end."""
    from tiffin.serving import logs
    from tiffin.serving.access.gate import check_binding, ways
    from tiffin.serving.process import runner

    check_binding(config, host)
    logs.configure_from(config)
    told: dict[str, Any] = {"service": what, "version": __version__, "url": ""}
    told |= {name: _without_password(place) for name, place in stands_on.items()}
    told |= {"access": ", ".join(sorted(ways(config))) or "everyone who reaches it", "workers": workers}
    announce = _announcer(session, told)
    made_by = application or f"tiffin.serving.{what}.app:create_app"
    code = runner.serve(made_by, config, host, port, workers, *tls, announce=announce)
    if code:
        raise typer.Exit(code)


def _announcer(session: Session, told: dict[str, Any]) -> Callable[[str], None]:
    """What tells that a service answers: lines for people, or one JSON text on a line, since the service goes on."""

    def announce(line: str) -> None:
        told["url"] = line.rpartition(" ")[2]
        if session.as_json:
            output.write_line(told)
            return
        rest = [f"  {name:<12}{value}" for name, value in told.items() if name not in {"service", "version", "url"}]
        output.say([f"tiffin {told['service']} {told['version']} listens on {told['url']}", *rest])

    return announce


def _without_password(place: str) -> str:
    from tiffin.options import option_named, shown

    return shown(option_named("registry"), place)
