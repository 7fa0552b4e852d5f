"""Deployment: which parts of a store the options place in services, and which on this machine.

==================================  =====================================================================
option                              what it places
==================================  =====================================================================
``core_url``                        registry and jobs, in the registry service
``registry``                        registry and jobs, in a database that this process opens itself
``serving_url``                     online reads, in the online service
``redis_host``, ``online_store``    the online store, which this process then reads and writes itself
``offline_location``                the histories of tables without a batch source
==================================  =====================================================================

What no option places lies under ``home``. But where a service is named and a store is not, there is none: rows written
under a home that the service does not read would be lost to everybody else. With ``embedded`` nothing is in services.
"""

from __future__ import annotations

import warnings
from typing import Final
from urllib.parse import quote

from tiffin.config import Config
from tiffin.errors import FailedPrecondition, TiffinWarning, Unsupported
from tiffin.options import names_server, option_named

#: Services that this version does not speak to.
_UNSPOKEN: Final = ("job_service_url",)


def has_core(config: Config) -> bool:
    """Whether definitions and jobs are asked of the registry service."""
    return bool(_server(config, "core_url"))


def has_serving(config: Config) -> bool:
    """Whether online reads are asked of the online service."""
    return bool(_server(config, "serving_url"))


def registry_url(config: Config) -> str:
    """The URL of the registry's database where there is no registry service."""
    return config.get("registry") or home_database(config)


def home_database(config: Config) -> str:
    """The URL of the database in the home."""
    return f"sqlite:///{quote(str(config.home / 'registry.db'))}"


def home_store(config: Config) -> str:
    """The URI of the online store in the home."""
    return f"lmdb://{quote(str(config.home / 'online'))}"


def online_uri(config: Config) -> str | None:
    """The URI of the online store that this process opens itself; None where it has none."""
    chosen = config.get("online_store")
    if chosen:
        return chosen
    host = _server(config, "redis_host")
    if host:
        from tiffin.online.redis_address import uri_of

        tls, password = config.getboolean("redis_ssl"), config.get("redis_password")
        return uri_of(host, port=config.getint("redis_port"), tls=tls, password=password)
    return None if has_core(config) or has_serving(config) else home_store(config)


def no_store(config: Config) -> Unsupported:
    """The error of work that writes or reads an online store where :func:`online_uri` is None."""
    named = "serving_url" if has_serving(config) else "core_url"
    return Unsupported(
        f"Option {named} ({config.origin(named)}) names a service, but no option names the online store that it reads.",
        field="online_store",
        hint="Set redis_host or online_store to the store that the online service reads.",
    )


def is_shared(config: Config) -> bool:
    """Whether other machines see the same definitions."""
    return has_core(config) or config.get("registry").startswith("postgresql")


def managed_root(config: Config) -> str:
    """The folder or bucket of the histories of tables without a batch source."""
    return config.get("offline_location").rstrip("/") or str(config.home / "offline")


def check_history(config: Config, table: str) -> None:
    """Raise FailedPrecondition for a table without a batch source whose history each machine would keep for itself."""
    if is_shared(config) and not config.exists("offline_location"):
        named = "core_url" if has_core(config) else "registry"
        raise FailedPrecondition(
            f"{table} has no batch source, so its history lies in a folder of its own, and with the registry shared "
            f"(option {named}) each machine would have another.",
            field="offline_location",
            hint="Set offline_location to a folder or bucket that all machines reach, or give the table a "
            "batch_source.",
        )


def check_servers(config: Config) -> None:
    """Raise Unsupported where an option names a service that is not spoken to; warn of options without effect."""
    for name in _UNSPOKEN:
        if _server(config, name):
            raise Unsupported(
                f"Option {name!r} ({config.origin(name)}) names a service that this version does not speak to.",
                field=name,
                hint="Leave it out: jobs run in the process that starts them.",
            )
    launcher = _server(config, "spark_launcher")
    if launcher:
        warnings.warn(
            f"Option spark_launcher={launcher!r} ({config.origin('spark_launcher')}) is accepted, but this version "
            "runs jobs in this process, with the Polars engine.",
            TiffinWarning,
            stacklevel=3,
        )


def _server(config: Config, name: str) -> str:
    """The value of an option that names a server, empty where everything is on this machine."""
    value = config.get(name)
    return value if names_server(option_named(name), value) and not config.getboolean("embedded") else ""
