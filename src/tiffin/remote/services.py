"""The services that a configuration names, as connections."""

from __future__ import annotations

from typing import Final, NamedTuple

from tiffin.config import Config
from tiffin.remote.async_http import AsyncConnection
from tiffin.remote.credentials import credentials
from tiffin.remote.http import Connection, ConnectionOptions


class _Options(NamedTuple):
    """The options of one service."""

    what: str
    url: str
    tls: str
    certificate: str


_CORE: Final = _Options("core", "core_url", "core_enable_ssl", "core_server_ssl_cert")
_ONLINE: Final = _Options("online", "serving_url", "serving_enable_ssl", "serving_server_ssl_cert")


def core_connection(config: Config) -> Connection:
    """To the registry service; the options must name one."""
    return Connection(config.get(_CORE.url), **_how(config, _CORE))


def online_connection(config: Config) -> Connection:
    """To the online service; the options must name one."""
    return Connection(config.get(_ONLINE.url), **_how(config, _ONLINE))


def async_online_connection(config: Config) -> AsyncConnection:
    """As :func:`online_connection`, for coroutines."""
    return AsyncConnection(config.get(_ONLINE.url), **_how(config, _ONLINE))


def _how(config: Config, options: _Options) -> ConnectionOptions:
    return {
        "tls": config.getboolean(options.tls),
        "certificate": config.get(options.certificate),
        "token": credentials(config),
        "timeout": config.getfloat("grpc_connection_timeout"),
        "what": options.what,
        "option": options.url,
    }
