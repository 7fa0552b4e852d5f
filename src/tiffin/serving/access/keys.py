"""Keys: the public keys of an issuer (RFC 7517), from its URL or a file, kept while the issuer is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tiffin.errors import InvalidConfig, MissingDependency, StorageError, Unavailable
from tiffin.remote.address import parse_address
from tiffin.remote.http import Connection
from tiffin.serving.access.kept import KeptFile

if TYPE_CHECKING:
    import jwt

#: Seconds after which keys are fetched again without a reason, and with the reason that a token names an unknown one.
REFRESH_SECONDS: Final = 300.0
UNKNOWN_SECONDS: Final = 10.0
_TIMEOUT: Final = 5.0
#: Keys of an issuer beyond this number are not looked at.
_MOST: Final = 100
_RSA_BITS: Final = 2048

#: The algorithms that a public key serves, by its type and curve. What is shared (HS*) or absent (none) has no place.
_SERVES: Final = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
ALGORITHMS: Final = frozenset(algorithm for served in _SERVES.values() for algorithm in served)

_log = logging.getLogger(__name__)


class _Jwk(msgspec.Struct, frozen=True):
    """What is read of a key before it is one."""

    kty: str
    kid: str | None = None
    crv: str | None = None
    alg: str | None = None
    use: str | None = None
    key_ops: tuple[str, ...] | None = None


class _Set(msgspec.Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


class _Key(NamedTuple):
    kid: str | None
    jwks: dict[str, jwt.PyJWK]  # by algorithm


class KeySet:
    """The keys of one issuer. :meth:`find` reads memory alone; :meth:`refresh` blocks while it asks the issuer.

    ``place`` is a URL or a file; without one the issuer says where its keys are (OpenID Connect Discovery).
    """

    def __init__(self, issuer: str, place: str, kept: KeptFile | None = None) -> None:
        self._issuer = issuer
        self._place = place
        self._kept = kept
        self._keys: list[_Key] | None = None
        self._document: Any = None
        self._lock = threading.Lock()
        self._fetched = 0.0
        self._asked: Future[None] | None = None
        #: Called when a refresh is asked for; whoever refreshes sets it.
        self.wake: Callable[[], None] = _nobody
        #: Counts changes, so that what was verified with older keys is verified again.
        self.version = 0
        for url in (issuer,) if not place else (place,) if _is_url(place) else ():
            _check_secure(url)

    @property
    def is_known(self) -> bool:
        """Whether the issuer, or a file of an earlier run, has given keys."""
        return self._keys is not None

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of that name for an algorithm; without a name the only one there is; None where there is none."""
        found = [
            key.jwks[algorithm] for key in self._keys or () if algorithm in key.jwks and (kid is None or key.kid == kid)
        ]
        return found[0] if len(found) == 1 else None

    @property
    def asked(self) -> Future[None] | None:
        """Done when the refresh that was asked for is; None where none is."""
        return self._asked

    def ask(self) -> None:
        """Ask for a refresh, since a token names an unknown key, unless one was made just now."""
        with self._lock:
            recent = self._fetched and time.monotonic() - self._fetched < UNKNOWN_SECONDS
            if self._asked is not None or recent:
                return
            self._asked = Future()
        self.wake()

    def refresh(self) -> None:
        """Fetch the keys where it is time or one was asked for. What is known stays where that fails."""
        with self._lock:
            recent = self._fetched and time.monotonic() - self._fetched < REFRESH_SECONDS
            if self._asked is None and recent:
                return
        try:
            document = self._fetch()
            self._take(document, _read_keys(document))
        finally:
            with self._lock:
                self._fetched = time.monotonic()
                asked, self._asked = self._asked, None
            if asked is not None:
                asked.set_result(None)

    def recall(self) -> None:
        """Take the keys of an earlier run, where the issuer has not answered yet."""
        document = self._kept.load() if self._kept is not None and self._keys is None else None
        if document is None:
            return
        try:
            keys = _read_keys(document)
        except Unavailable:  # another version wrote it: as good as none
            return
        with self._lock:
            if self._keys is None:
                self._keys = keys
                self.version += 1

    def _take(self, document: object, keys: list[_Key]) -> None:
        if document == self._document:
            return
        with self._lock:
            self._keys, self._document = keys, document
            self.version += 1
        if self._kept is not None:
            self._kept.save(document)

    def _fetch(self) -> object:
        if self._place and not _is_url(self._place):
            return _read_file(Path(self._place))
        return _get(self._place or self._discovered())

    def _discovered(self) -> str:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = _get(url)
        place = found.get("jwks_uri") if isinstance(found, dict) else None
        if not isinstance(found, dict) or found.get("issuer") != self._issuer or not isinstance(place, str):
            raise Unavailable(
                f"{url} does not describe the issuer {self._issuer}.",
                field="oidc_issuer",
                hint="Set oidc_jwks to the URL of its keys.",
            )
        _check_secure(place)
        return place


def _read_keys(document: object) -> list[_Key]:
    """The usable keys of a set; Unavailable where it is none."""
    try:
        found = msgspec.convert(document, _Set)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"The issuer's keys cannot be read: {error}.",
            field="oidc_jwks",
            hint="They must be a set of JSON web keys.",
        ) from None
    return [key for data in found.keys[:_MOST] if (key := _read_key(data)) is not None]


def _read_key(data: dict[str, Any]) -> _Key | None:
    jwt = jose()
    try:
        jwk = msgspec.convert(data, _Jwk)
        served = _SERVES.get((jwk.kty, None if jwk.kty == "RSA" else jwk.crv), ())
        if jwk.use not in {None, "sig"} or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
            return None
        algorithms = [each for each in served if jwk.alg in {None, each}]
        jwks = {each: jwt.PyJWK(_public(data), each) for each in algorithms}
    except (msgspec.ValidationError, jwt.PyJWTError) as error:
        _log.warning("a key of the issuer cannot be used: %s", type(error).__name__)
        return None
    if any(getattr(each.key, "key_size", _RSA_BITS) < _RSA_BITS for each in jwks.values() if jwk.kty == "RSA"):
        _log.warning("a key of the issuer is too short to be used")
        return None
    return _Key(jwk.kid, jwks) if jwks else None


def _public(data: dict[str, Any]) -> dict[str, Any]:
    """The public parts of a key alone, should somebody have published the others."""
    return {name: data[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in data}


def _read_file(path: Path) -> object:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise StorageError(
            f"The issuer's keys cannot be read from {path}: {error.strerror}.", field="oidc_jwks"
        ) from error
    except msgspec.DecodeError:
        raise StorageError(
            f"{path} holds no JSON.", field="oidc_jwks", hint="Name a file of public keys (JWKS)."
        ) from None


def _get(url: str) -> Any:
    parts = urlsplit(url)
    connection = Connection(
        f"{parts.scheme}://{parts.netloc}", timeout=_TIMEOUT, what="issuer", option="oidc_jwks", default_port=80
    )
    try:
        return connection.get(parts.path or "/", **dict(_pairs(parts.query)))
    finally:
        connection.close()


def _pairs(query: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl

    return parse_qsl(query)


def _is_url(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _check_secure(url: str) -> None:
    """Keys that came over an open line could be anybody's."""
    address = parse_address(url, default_port=80, field="oidc_jwks")
    if not _is_url(url) or (address.scheme != "https" and not address.is_loopback):
        raise InvalidConfig(f"{url!r} does not speak TLS.", field="oidc_jwks", hint="Name an https:// URL.")


def jose() -> Any:
    """The library of web tokens, which the extra ``server`` installs."""
    try:
        import jwt
        import jwt.algorithms
    except ImportError as error:
        raise MissingDependency("pyjwt", extra="server", purpose="auth=oidc") from error
    return jwt


def _nobody() -> None:
    """Nobody refreshes yet."""
