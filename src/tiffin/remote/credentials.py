"""Credentials: the bearer token that a client sends to the services, and where it comes from.

A token given as ``auth_token`` is sent as it is. With ``enable_auth`` and an ``auth_provider``, ``oauth`` asks an
OAuth 2 server with the client's own credentials (RFC 6749, section 4.4), and ``google`` takes an ID token of the
environment's Google account. No token stands in a repr, a log or an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from tiffin.config import Config
from tiffin.errors import InvalidConfig, MissingDependency, Unauthenticated, Unavailable
from tiffin.remote.answers import Answer
from tiffin.remote.http import Connection, Token

_PROVIDERS: Final = ("google", "oauth")
_GRANT: Final = "client_credentials"
_FORM: Final = "application/x-www-form-urlencoded"
#: A token is renewed so many seconds before it ends, or after three quarters of its life where that is sooner.
_EARLY: Final = 60.0
#: Seconds that a token lives whose server does not say.
_USUAL_LIFE: Final = 300.0


def credentials(config: Config) -> Token | None:
    """What gives the token of the moment, None where none is to be sent; InvalidConfig where an option is missing."""
    token = config.get("auth_token")
    if token:
        return StaticToken(token)
    if not config.getboolean("enable_auth"):
        return None
    provider = config.get("auth_provider").lower()
    if provider == "oauth":
        return OAuthToken(config)
    if provider == "google":
        return GoogleToken(config.get("oauth_audience"))
    raise InvalidConfig(
        f"enable_auth is set, but auth_provider is {provider!r} and there is no auth_token.",
        field="auth_provider",
        hint=f"Set auth_token, or auth_provider to one of {', '.join(_PROVIDERS)}.",
    )


class StaticToken:
    """The same token each time."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self) -> str:
        return self._token

    def __repr__(self) -> str:
        return "StaticToken(****)"


class _Kept:
    """A token that is fetched when it is first needed and again before it ends. Safe to use from several threads."""

    def __init__(self, fetch: Callable[[], tuple[str, float]]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    @property
    def is_at_hand(self) -> bool:
        """Whether the next call needs to ask nobody."""
        return time.monotonic() < self._until

    def __call__(self) -> str:
        if time.monotonic() < self._until:
            return self._token
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, life = self._fetch()
                self._until = time.monotonic() + max(life - _EARLY, life * 0.75)
            return self._token

    def renew(self) -> None:
        """Forget the token: a service refused it."""
        with self._lock:
            self._until = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(****)"


class OAuthToken(_Kept):
    """Tokens of an OAuth 2 server, asked for with the options ``oauth_*``."""

    def __init__(self, config: Config) -> None:
        super().__init__(self._request)
        self._url = _needed(config, "oauth_token_request_url")
        self._form = {
            "grant_type": config.get("oauth_grant_type") or _GRANT,
            "client_id": _needed(config, "oauth_client_id"),
            "client_secret": _needed(config, "oauth_client_secret"),
        }
        if self._form["grant_type"] != _GRANT:
            raise InvalidConfig(
                f"oauth_grant_type {self._form['grant_type']!r} is not spoken here.",
                field="oauth_grant_type",
                hint=f"Tiffin asks with the grant type {_GRANT}.",
            )
        if config.exists("oauth_audience"):
            self._form["audience"] = config.get("oauth_audience")
        parts = urlsplit(self._url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = Connection(
            f"{parts.scheme}://{parts.netloc}" if parts.scheme else "",
            certificate=config.get("oauth_server_ssl_cert"),
            timeout=config.getfloat("grpc_connection_timeout"),
            what="token",
            option="oauth_token_request_url",
            default_port=80,
        )

    def _request(self) -> tuple[str, float]:
        """A new token, and the seconds it lives."""
        form = urlencode(self._form).encode()
        try:
            answer = self._connection.exchange("POST", self._path, body=form, body_type=_FORM, retry=True)
        finally:
            self._connection.close()  # the next token is needed in an hour
        if answer.status != 200:
            raise Unauthenticated(
                f"The token server at {self._connection.address} refused the client {self._form['client_id']!r}: "
                f"{_reason(answer)}.",
                field="oauth_client_id",
                hint="Check the options oauth_client_id, oauth_client_secret and oauth_audience.",
            )
        found = _fields(answer)
        token, life = found.get("access_token"), found.get("expires_in")
        if not isinstance(token, str) or not token:
            raise Unavailable(
                f"The token server at {self._connection.address} answered without an access_token.",
                field="oauth_token_request_url",
                hint="Check that oauth_token_request_url is the token endpoint.",
            )
        return token, float(life) if isinstance(life, int | float) else _USUAL_LIFE


class GoogleToken(_Kept):
    """ID tokens of the Google account that the environment names. Needs google-auth."""

    def __init__(self, audience: str) -> None:
        super().__init__(self._request)
        self._audience = audience or "feast.dev"

    def _request(self) -> tuple[str, float]:
        fetch, failures = _google()
        try:
            token = fetch(self._audience)
        except failures as error:
            raise Unauthenticated(
                f"Google gave no ID token for the audience {self._audience!r}: {type(error).__name__}.",
                field="auth_provider",
                hint="Set GOOGLE_APPLICATION_CREDENTIALS, or run where a service account is attached.",
            ) from error
        return token, 3600.0


def _google() -> tuple[Callable[[str], str], tuple[type[Exception], ...]]:
    try:
        from google.auth import exceptions
        from google.auth.transport.requests import Request
        from google.oauth2 import id_token
    except ImportError as error:
        raise MissingDependency("google-auth", extra="gcs", purpose="auth_provider=google") from error
    fetch: Callable[[Any, str], str] = id_token.fetch_id_token
    return lambda audience: fetch(Request(), audience), (exceptions.GoogleAuthError,)


def _needed(config: Config, option: str) -> str:
    value = config.get(option)
    if not value:
        raise InvalidConfig(
            f"auth_provider is 'oauth', but {option} is not set.", field=option, hint="Set it, or send an auth_token."
        )
    return value


def _fields(answer: Answer) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(answer: Answer) -> str:
    """The words of RFC 6749, section 5.2, which hold no secret."""
    found = _fields(answer)
    return str(found.get("error_description") or found.get("error") or f"status {answer.status}")
