"""Addresses of Redis: the URIs that users write, and what they mean.

============================================  =======================================================
``redis://host:6379/0``                       one server; ``rediss://`` speaks TLS to it
``redis+unix:///path/of/socket``              one server behind a socket of this machine
``redis+cluster://host:6379,host:6380``       a cluster, found through any of its nodes
``redis+sentinel://host:26379,host/name/0``   the master that sentinels know under a name
============================================  =======================================================

``rediss+cluster://`` and ``rediss+sentinel://`` speak TLS. A user and password stand before the host, percent-encoded:
``redis://user:password@host``. The options of the query are told in :class:`Address`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from tiffin.errors import InvalidConfig

Kind = Literal["single", "unix", "cluster", "sentinel"]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_KINDS: Final[Mapping[str, Kind]] = {"": "single", "unix": "unix", "cluster": "cluster", "sentinel": "sentinel"}
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HINT: Final = (
    "Write redis://host:port/db, rediss:// for TLS, redis+cluster://host:port,host:port or "
    "redis+sentinel://host:port,host:port/name, and percent-encode what a password has besides letters and digits."
)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Redis is, and how to speak to it.

    ``hosts`` are (host, port); a socket's path is in ``path``, the name of a sentinels' master in ``service``. Options
    of the query: ``timeout`` in seconds bounds each connect and each answer; ``prefix`` begins every key, so that
    stores may share a server; ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile`` are files, ``ssl_check_hostname``
    and ``ssl_verify`` are true unless turned off; ``sentinel_username`` and ``sentinel_password`` are for the
    sentinels themselves.
    """

    kind: Kind = "single"
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    timeout: float = 5.0
    prefix: str = "tiffin"
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_check_hostname: bool = True
    ssl_verify: bool = True
    sentinel_username: str = ""
    sentinel_password: str = ""

    def __str__(self) -> str:
        """The address without its secrets, as messages name it."""
        if self.kind == "unix":
            return self.path
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.service!r} of the sentinels {hosts}" if self.kind == "sentinel" else hosts

    def __repr__(self) -> str:
        return f"Address({self})"


def parse(uri: str) -> Address:
    """The address that a URI names; InvalidConfig where it names none, which shows no secret."""
    try:
        return _parse(uri.strip())
    except (ValueError, msgspec.ValidationError) as error:
        if isinstance(error, InvalidConfig):
            raise
        raise _unusable(uri, _without_secrets(str(error), uri)) from None


def uri_of(host: str, *, port: int = PORT, tls: bool = False, password: str = "") -> str:
    """The URI of one server whose ``host`` may carry a port or be a URI itself."""
    if "://" in host:
        return host
    user = f":{quote(password, safe='')}@" if password else ""
    [(name, found)] = _hosts(host, port)
    shown = f"[{name}]" if ":" in name else name
    return f"{'rediss' if tls else 'redis'}://{user}{shown}:{found}/0"


def _parse(uri: str) -> Address:
    parts = urlsplit(uri)
    scheme, _, kind_name = parts.scheme.partition("+")
    kind = _KINDS.get(kind_name)
    if scheme not in {"redis", "rediss"} or kind is None or (kind == "unix" and scheme == "rediss"):
        raise _unusable(uri, f"its scheme is {parts.scheme!r}")
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    path = unquote(parts.path)
    found: dict[str, Any] = {"kind": kind, "username": unquote(username), "password": unquote(password)}
    if kind == "unix":
        found["path"] = path
    else:
        found["hosts"] = _hosts(hosts, SENTINEL_PORT if kind == "sentinel" else PORT)
        service, _, database = path.strip("/").rpartition("/") if kind == "sentinel" else ("", "", path.strip("/"))
        if kind == "sentinel" and not service:
            service, database = database, ""
        found |= {"service": service, "database": int(database or 0)}
    return _checked(uri, _with_options(uri, found, parts.query), tls=scheme == "rediss")


def _with_options(uri: str, found: dict[str, Any], query: str) -> dict[str, Any]:
    given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if "db" in given:
        given["database"] = given.pop("db")
    allowed = set(Address.__struct_fields__) - {"kind", "hosts", "path", "service", "username", "password", "tls"}
    unknown = given.keys() - allowed
    if unknown:
        raise _unusable(uri, f"it has no option {min(unknown)!r}; there are {', '.join(sorted(allowed))}")
    return found | given


def _checked(uri: str, found: dict[str, Any], *, tls: bool) -> Address:
    address = msgspec.convert({**found, "tls": tls}, Address, strict=False)
    if address.kind == "unix" and not address.path.strip("/"):
        raise _unusable(uri, "it names no socket")
    if address.kind == "sentinel" and not address.service:
        raise _unusable(uri, "it does not say under which name the sentinels know the master")
    if address.kind == "cluster" and address.database:
        raise _unusable(uri, "a cluster has database 0 only")
    if not _PREFIX.fullmatch(address.prefix):
        raise _unusable(uri, "its prefix must be of letters, digits and _ . : - only, and no longer than 64")
    for file in (address.ssl_ca_certs, address.ssl_certfile, address.ssl_keyfile):
        if file and not Path(file).is_file():
            raise _unusable(uri, f"there is no file {file}")
    if not address.timeout > 0 or address.database < 0:
        raise _unusable(uri, "timeout must be greater than 0, db at least 0")
    return address


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    """``host``, ``host:port`` and ``[v6]:port``, separated by commas."""
    return tuple(_host(part.strip(), port) for part in text.split(",")) if text else (("127.0.0.1", port),)


def _host(text: str, port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]\s@]+))(?::(\d{1,5}))?", text)
    if match is None or int(match[3] or port) > 65535:
        raise InvalidConfig(f"{text!r} is not host:port.", field="online_store", hint=_HINT)
    return match[1] or match[2], int(match[3] or port)


def _unusable(uri: str, reason: str) -> InvalidConfig:
    shown = re.sub(r"//[^/]*@", "//****@", _without_secrets(uri, uri))
    return InvalidConfig(f"{shown!r} names no Redis: {reason}.", field="online_store", hint=_HINT)


def _without_secrets(text: str, uri: str) -> str:
    for secret in re.findall(r"(?i)password=([^&]+)", uri):
        text = text.replace(secret, "****")
    return text
