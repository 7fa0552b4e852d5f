"""The driver's errors as Tiffin's, at one edge. No message of ours holds a secret, and the driver's hold none."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions

from tiffin.errors import CorruptData, InvalidConfig, StorageError, TiffinError, Unavailable, Unsupported
from tiffin.online.redis_address import Address

#: What the driver raises; its cluster's errors are no RedisError, and a pool may let the system's through.
DRIVER: Final = (exceptions.RedisError, exceptions.RedisClusterException, exceptions.ChildDeadlockedError, OSError)

#: Answers that name another node, or ask to come again: a cluster on the move.
MOVING: Final = (exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError)

_AUTHENTICATION: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
)
_LOST: Final = (exceptions.ConnectionError, exceptions.ReadOnlyError, OSError, *MOVING)
_STUCK: Final = (exceptions.TimeoutError, TimeoutError, exceptions.BusyLoadingError, *_AUTHENTICATION)
#: Errors within a script carry their code inside the text where the server is older than 7.
_CODE: Final = re.compile(r"(?<![A-Za-z])([A-Z]{4,}|OOM)(?![A-Za-z])")

_Make = Callable[[Address], TiffinError]


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Raise Tiffin's error for any of the driver's."""
    try:
        yield
    except TiffinError:
        raise
    except DRIVER as error:
        raise translate(error, address) from error


def translate(error: BaseException, address: Address) -> TiffinError:
    """What an error of the driver means to a caller."""
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLError) or "SSL" in str(cause) or "certificate" in str(cause):
            return _tls(cause, address)
        if isinstance(cause, exceptions.TimeoutError | TimeoutError):
            return _away(address, f"did not answer in {address.timeout:g} s")
        if isinstance(cause, _AUTHENTICATION) or "without any password" in str(cause):
            return _credentials(address)
    for cause in chain:
        for code in [getattr(cause, "status_code", None), *_CODE.findall(str(cause))]:
            if code in _BY_CODE:
                return _BY_CODE[code](address)
        if "Cluster mode is not enabled" in str(cause) or "cluster support disabled" in str(cause):
            return InvalidConfig(f"Redis at {address} is no cluster.", field="online_store", hint="Write redis://.")
        if "DB index" in str(cause) or "Invalid Database" in str(cause):
            return _no_database(address)
        if "unknown command" in str(cause).lower():
            return Unsupported(f"Redis at {address} is too old: {cause}.", hint="Tiffin needs Redis 6.2 or later.")
    if isinstance(error, exceptions.ResponseError):
        return StorageError(f"Redis at {address} refused the work: {error}.")
    return _away(address, f"cannot be reached: {chain[-1]}".rstrip("."))


def is_dropped(error: BaseException) -> bool:
    """Whether a connection was lost, or led to a server that is no master any more: a new one may do better.

    Not so where the server is known to be there and not to answer.
    """
    return isinstance(error, _LOST) and not isinstance(error, _STUCK)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _away(address: Address, what: str) -> Unavailable:
    other = "does it speak TLS (else write redis://)" if address.tls else "does it speak no TLS (else write rediss://)"
    return Unavailable(
        f"Redis at {address} {what}.",
        field="online_store",
        hint=f"Is it running, is this its address, and {other}? Try again later.",
    )


def _credentials(address: Address) -> Unavailable:
    given = "the user and password given" if address.password else "a connection without a password"
    return Unavailable(
        f"Redis at {address} refused {given}.",
        field="online_store",
        hint="Set redis_password, or write redis://user:password@host, percent-encoded.",
        retry_after=30.0,
    )


def _tls(error: BaseException, address: Address) -> Unavailable:
    text = str(error)
    if address.tls and ("WRONG_VERSION" in text or "record layer" in text):
        hint = "It seems not to speak TLS: write redis:// instead of rediss://."
    elif "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        hint = "Name the authority that signed its certificate: ?ssl_ca_certs=/path/of/ca.pem."
    else:
        hint = "Look at ssl_ca_certs, ssl_certfile and ssl_keyfile of the URI."
    return Unavailable(
        f"TLS with Redis at {address} failed: {text}.", field="online_store", hint=hint, retry_after=30.0
    )


def _no_database(address: Address) -> InvalidConfig:
    return InvalidConfig(
        f"Redis at {address} has no database {address.database}.", field="online_store", hint="Use database 0."
    )


def _full(address: Address) -> StorageError:
    return StorageError(
        f"Redis at {address} is full: it holds maxmemory.",
        hint="Raise maxmemory, or drop the rows of tables that are not used; what was written stays.",
    )


def _not_persisting(address: Address) -> StorageError:
    return StorageError(
        f"Redis at {address} takes no writes: it cannot persist what it holds.", hint="Look at its disk and its log."
    )


def _forbidden(address: Address) -> StorageError:
    return StorageError(
        f"The user {address.username or 'default'!r} of Redis at {address} may not do this.",
        hint=f"Grant it ~{address.prefix}{{* and +@read +@write +@scripting +@connection +info +cluster.",
    )


def _wrong_type(address: Address) -> CorruptData:
    return CorruptData(
        f"Redis at {address} holds something else under a key of Tiffin's.",
        hint="Delete it, or choose another prefix: ?prefix=name.",
    )


def _is_cluster(address: Address) -> InvalidConfig:
    return InvalidConfig(
        f"Redis at {address} is a node of a cluster.", field="online_store", hint="Write redis+cluster://."
    )


def _says(what: str) -> _Make:
    return lambda address: Unavailable(
        f"Redis at {address} {what}.", field="online_store", hint="Try again later, and look at its log if it stays so."
    )


_BY_CODE: Final[dict[str, _Make]] = {
    "OOM": _full,
    "MISCONF": _not_persisting,
    "NOPERM": _forbidden,
    "WRONGTYPE": _wrong_type,
    "NOAUTH": _credentials,
    "WRONGPASS": _credentials,
    "MOVED": _is_cluster,
    "CROSSSLOT": _is_cluster,
    "READONLY": _says("is a replica: a failover may be under way"),
    "LOADING": _says("is loading its data"),
    "MASTERDOWN": _says("is a replica without its master"),
    "NOREPLICAS": _says("has not enough replicas to take writes"),
    "BUSY": _says("is busy with a script"),
    "CLUSTERDOWN": _says("is a cluster that does not cover all slots"),
    "TRYAGAIN": _says("is a cluster that is moving these keys"),
}
