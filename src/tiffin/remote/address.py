"""Where a service listens, as users write it: ``host``, ``host:port`` or ``http(s)://host:port/prefix``."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from tiffin.errors import InvalidConfig

_TLS_PORT: Final = 443


class Address(NamedTuple):
    """A service's place. Its text is a URL without a closing slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, spoken to through the loopback."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def parse_address(text: str, *, default_port: int, tls: bool = False, field: str | None = None) -> Address:
    """Read an address. TLS is spoken where it is asked for, by ``tls`` or ``https://``, and on port 443.

    Without a port it is ``default_port``, and behind ``https://`` 443. InvalidConfig names ``field`` and never
    repeats a password.
    """
    given = text.strip()
    scheme, separator, _ = given.partition("://")
    parts = _split(given if separator else f"//{given}", given, field)
    scheme = scheme.lower() if separator else ""
    if scheme not in {"", "http", "https"}:
        raise _unusable(f"{given!r} has the scheme {scheme!r}", field, "Services speak http:// and https://.")
    if scheme == "http" and tls:
        raise _unusable(f"{given!r} says http, though TLS is asked for", field, "Write https://, or turn TLS off.")
    port = parts.port or (_TLS_PORT if scheme == "https" else default_port)
    secure = tls or scheme == "https" or (not scheme and port == _TLS_PORT)
    return Address("https" if secure else "http", str(parts.hostname), port, parts.path.rstrip("/"))


def _split(url: str, given: str, field: str | None) -> SplitResult:
    """The parts of a URL, each of which is usable."""
    if "@" in url:
        raise _unusable("It holds a user or password", field, "Credentials are options: auth_token, or oauth_*.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _unusable(f"{given!r} cannot be read: {error}", field, "Write host:port.") from None
    host = parts.hostname
    if not host or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise _unusable(f"{given!r} names no host", field, "Write host:port, such as localhost:6565.")
    if port == 0 or parts.query or parts.fragment:
        raise _unusable(f"{given!r} is more or less than a host and a port", field, "Write host:port.")
    return parts


def _unusable(found: str, field: str | None, hint: str) -> InvalidConfig:
    return InvalidConfig(f"The address of a service cannot be used: {found}.", field=field, hint=hint)
