"""Connection: requests to one service over HTTP, and its answers as data or as Tiffin's errors."""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, Unpack
from urllib.parse import quote, urlencode

import msgspec

from tiffin._version import __version__
from tiffin.errors import InvalidConfig, TiffinError, Unavailable
from tiffin.remote.address import Address, parse_address
from tiffin.remote.answers import BUSY, JSON, Answer, Service, busy, decoded
from tiffin.remote.retry import Attempts

if TYPE_CHECKING:
    from tiffin.remote import transport

Token = Callable[[], str | None]
"""The bearer token of the moment, or None. One that can get a new token has a method ``renew``."""

PORTS: Final = {"core": 6565, "online": 6566}
_UNAUTHENTICATED: Final = 401


class ConnectionOptions(TypedDict, total=False):
    """How a service is spoken to; see :class:`Requests`."""

    tls: bool
    certificate: str
    token: Token | None
    timeout: float
    what: str
    option: str
    default_port: int | None


class Requests:
    """What a connection says, whoever sends it: who is asked, and what stands in the head of every request.

    ``what`` names the service in errors; its usual port is that of ``core`` or ``online``. ``timeout`` is in seconds,
    and that of a whole call, with its retries. ``certificate`` is a PEM file of the authority that signed the
    service's; the system's authorities count otherwise.
    """

    #: Methods that may always be sent again.
    IDEMPOTENT: ClassVar = frozenset({"GET", "HEAD"})

    def __init__(
        self,
        address: str,
        *,
        tls: bool = False,
        certificate: str = "",
        token: Token | None = None,
        timeout: float = 10.0,
        what: str = "core",
        option: str = "",
        default_port: int | None = None,
    ) -> None:
        option = option or ("serving_url" if what == "online" else f"{what}_url")
        port = default_port or PORTS.get(what, PORTS["core"])
        self.address: Address = parse_address(address, default_port=port, tls=tls, field=option)
        self.service = Service(what, str(self.address), option)
        self.timeout = timeout
        self.certificate = certificate
        self._token = token

    @property
    def certificate_option(self) -> str:
        """The option that names the authority of the service."""
        return self.service.option.removesuffix("_url").removesuffix("_token_request") + "_server_ssl_cert"

    @property
    def token_is_at_hand(self) -> bool:
        """Whether the token needs no request of its own."""
        return self._token is None or bool(getattr(self._token, "is_at_hand", True))

    def headers(self, accept: str, body_type: str | None) -> list[tuple[bytes, bytes]]:
        """The head of a request, with the token of the moment."""
        host = self.address.host if ":" not in self.address.host else f"[{self.address.host}]"
        found = [
            (b"host", f"{host}:{self.address.port}".encode()),
            (b"accept", accept.encode()),
            (b"user-agent", f"tiffin/{__version__}".encode()),
        ]
        if body_type is not None:
            found.append((b"content-type", body_type.encode()))
        token = self._token() if self._token is not None else None
        if token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise InvalidConfig(
                    "The token holds letters that no header may hold.",
                    hint="Copy it again: a token is one line of ASCII.",
                    field="auth_token",
                )
            found.append((b"authorization", f"Bearer {token}".encode()))
        return found

    def renew(self) -> bool:
        """Forget a token that was refused; whether another can be had."""
        renew = getattr(self._token, "renew", None)
        if renew is None:
            return False
        renew()
        return True

    def unreachable(self, error: BaseException) -> Unavailable:
        """The error of a service that was not reached, or whose connection broke."""
        cause = error.__cause__ or error.__context__ or error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unavailable(
                f"{self.service} shows a certificate that is not trusted: {cause.verify_message}.",
                field=self.certificate_option,
                hint=f"Name the authority that signed it in option {self.certificate_option}.",
            )
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return Unavailable(
            f"{self.service} cannot be reached: {reason}.",
            field=self.service.option,
            hint=f"Check that it runs and that option {self.service.option} names it, with TLS if it speaks TLS.",
        )

    def late(self, seconds: float) -> Unavailable:
        """The error of a service that took too long."""
        return Unavailable(
            f"{self.service} did not answer within {seconds:g} s.",
            field="grpc_connection_timeout",
            hint="It may be overloaded: try again later, or raise option grpc_connection_timeout.",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.address)!r})"


class Outcome:
    """What follows from what one request met: an answer, a pause before it is sent again, or an error."""

    def __init__(self, requests: Requests, attempts: Attempts) -> None:
        self._requests = requests
        self._attempts = attempts
        self._renewed = False

    def answered(
        self, status: int, headers: list[tuple[bytes, bytes]], content: bytes
    ) -> tuple[Answer, float] | tuple[None, float]:
        """The answer, whatever its status but those of :data:`BUSY`; or None and the pause."""
        fields = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in headers}
        answer = Answer(status, fields, content)
        if status == _UNAUTHENTICATED and not self._renewed and self._requests.renew():
            self._renewed = True  # nothing was done yet: it may be sent again, whatever it is
            return None, 0.0
        if status not in BUSY:
            return answer, 0.0
        return None, self._pause(busy(self._requests.service, answer), answer.retry_after)

    def failed(self, error: Exception) -> float:
        """The pause after a request that got no answer."""
        from tiffin.remote import transport

        if isinstance(error, transport.TIMEOUTS):
            # A connection that is never made is as much a service that does not answer as one that is silent.
            raise self._requests.late(self._attempts.timeout) from None
        failure = self._requests.unreachable(error)
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
            raise failure from error  # it would be the same again
        return self._pause(failure, None)

    def _pause(self, failure: TiffinError, asked: float | None) -> float:
        pause = self._attempts.next_pause(asked)
        if pause is None:
            raise failure
        return pause


class Connection(Requests):
    """A service, asked from any thread; connections are kept alive, and made anew in a forked process.

    GET is tried again where the service is not reached, breaks off or answers 503, and so is what a caller says may
    be done twice with ``retry=True``.
    """

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        super().__init__(address, **options)
        self._lock = threading.Lock()
        self._pool: transport.Pool | None = None
        self._forgotten: weakref.finalize[..., Any] | None = None
        _open.add(self)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path; parameters that are None are left out, and lists are repeated."""
        return decoded(self.service, self.exchange("GET", path, params=params))

    def post(self, path: str, body: Any = None, *, retry: bool = False, timeout: float | None = None) -> Any:
        """Send ``body`` as JSON; the JSON of the answer."""
        return self._change("POST", path, body, retry=retry, timeout=timeout)

    def put(self, path: str, body: Any = None, *, retry: bool = False, timeout: float | None = None) -> Any:
        """As :meth:`post`."""
        return self._change("PUT", path, body, retry=retry, timeout=timeout)

    def delete(self, path: str, *, retry: bool = False, **params: Any) -> Any:
        """As :meth:`get`, with DELETE."""
        return decoded(self.service, self.exchange("DELETE", path, params=params, retry=retry))

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        body_type: str | None = None,
        accept: str = JSON,
        headers: Mapping[str, str] | None = None,
        retry: bool = False,
        timeout: float | None = None,
    ) -> Answer:
        """The answer to a request, whatever its status but those of load; Unavailable where there is none in time."""
        from tiffin.remote import transport

        attempts = Attempts(self.timeout if timeout is None else timeout, retry=retry or method in self.IDEMPOTENT)
        target = target_of(path, params or {})
        more = [(name.encode(), text.encode()) for name, text in (headers or {}).items()]
        outcome = Outcome(self, attempts)
        while True:
            request = transport.new_request(
                method, self.address, target, [*self.headers(accept, body_type), *more], body
            )
            try:
                status, found, content = transport.send(self._opened(), request, attempts.remaining)
            except transport.FAILURES as error:
                pause = outcome.failed(error)
            else:
                answer, pause = outcome.answered(status, found, content)
                if answer is not None:
                    return answer
            time.sleep(pause)

    def close(self) -> None:
        """Close the connections; a later request opens them again."""
        with self._lock:
            self._pool, forgotten = None, self._forgotten
        if forgotten is not None:
            forgotten()

    def _change(self, method: str, path: str, body: Any, *, retry: bool, timeout: float | None) -> Any:
        content = b"" if body is None else msgspec.json.encode(body)
        kind = None if body is None else JSON
        answer = self.exchange(method, path, body=content, body_type=kind, retry=retry, timeout=timeout)
        return decoded(self.service, answer)

    def _opened(self) -> transport.Pool:
        from tiffin.remote import transport

        pool = self._pool
        if pool is None:
            with self._lock:
                if self._pool is None:
                    tls = transport.tls_context(self.address, self.certificate, field=self.certificate_option)
                    self._pool = transport.open_pool(self.address, tls)
                    # Whoever forgets to close it leaves no socket open.
                    self._forgotten = weakref.finalize(self, self._pool.close)
                pool = self._pool
        return pool

    def _after_fork(self) -> None:
        if self._forgotten is not None:
            _inherited.append(self._forgotten.detach())
        self._lock, self._pool = threading.Lock(), None


def target_of(path: str, params: Mapping[str, Any]) -> str:
    """A path with its query, encoded."""
    given = {name: _plain(value) for name, value in params.items() if value is not None}
    query = urlencode(given, doseq=True)
    encoded = quote(path, safe="/%?=:@!$&'()*+,;-._~")
    return f"{encoded}?{query}" if query else encoded


def _plain(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


# A forked process must not speak on the sockets of its parent, nor close them in its name: TLS would say goodbye.
_open: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[Any] = []


def _forked() -> None:
    for connection in list(_open):
        connection._after_fork()  # noqa: SLF001  (of this very file)


os.register_at_fork(after_in_child=_forked)
