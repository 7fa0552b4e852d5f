"""What a service answered, as data or as the error that it told.

Between a client and a service stand proxies and balancers, and an address may be another program's altogether. So
nothing is taken for an answer of Tiffin's that does not look like one.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from tiffin.errors import TiffinError, Unavailable, error_from

T = TypeVar("T")

JSON: Final = "application/json"
#: Statuses of proxies whose service does not answer, and of services that shed load.
BUSY: Final = frozenset({429, 502, 503, 504})
#: Letters of a strange answer that an error repeats.
_SHOWN: Final = 80


class Answer(NamedTuple):
    """Status, headers (their names in lower case, whatever was sent) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def media_type(self) -> str:
        """The type of the body, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """The seconds to wait that it asks for, None where it says nothing usable."""
        try:
            seconds = float(self.headers.get("retry-after", ""))
        except ValueError:  # it may be a date, which no service of Tiffin's sends
            return None
        return min(max(seconds, 0.0), 3600.0) if seconds == seconds else None


class Service(NamedTuple):
    """Who was asked, in the words of an error: ``what`` is "core" or "online", ``address`` a URL."""

    what: str
    address: str
    option: str

    def __str__(self) -> str:
        return f"The {self.what} service at {self.address}"


def decoded(service: Service, answer: Answer) -> Any:
    """The JSON of an answer, None for an empty one; the error that it tells otherwise. Integers are exact."""
    raise_for(service, answer)
    return read_as(service, answer, Any) if answer.content else None


def read_as(service: Service, answer: Answer, kind: type[T]) -> T:
    """The JSON of an answer as data of a kind; Unavailable where it is none."""
    raise_for(service, answer)
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise strange(service, answer) from error


def raise_for(service: Service, answer: Answer) -> None:
    """Raise the error that an answer tells, if it tells one."""
    if 200 <= answer.status < 300:
        return
    told = _told(answer)
    if told is not None:
        wait = answer.retry_after
        if "retry_after" not in told and wait is not None:
            told["retry_after"] = wait
        raise error_from(told, answer.status)
    if answer.status in BUSY:
        raise Unavailable(
            f"{service} answered {_words(answer.status)}.",
            hint="It is overloaded, or what it stands on is down: try again later.",
            retry_after=1.0 if answer.retry_after is None else answer.retry_after,
        )
    if answer.status in {400, 401, 403, 413, 500}:
        raise error_from({"message": f"{service} answered {_words(answer.status)}: {_shown(answer)}"}, answer.status)
    raise strange(service, answer)


def busy(service: Service, answer: Answer) -> TiffinError:
    """The error of an answer whose status is of :data:`BUSY`."""
    try:
        raise_for(service, answer)
    except TiffinError as error:
        return error
    return strange(service, answer)


def strange(service: Service, answer: Answer) -> TiffinError:
    """The error of an answer that no service of Tiffin's gives."""
    return Unavailable(
        f"{service} answered {_words(answer.status)} with what is not Tiffin's: {_shown(answer)}",
        field=service.option,
        hint=f"Another program, or a proxy between, may be at that address: check option {service.option}.",
    )


def _told(answer: Answer) -> dict[str, Any] | None:
    """The error of Tiffin's tree that a body tells."""
    try:
        data = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(data, dict) and isinstance(data.get("code"), str) and isinstance(data.get("message"), str):
        return data
    return None


def _words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _shown(answer: Answer) -> str:
    text = " ".join(answer.content[: 4 * _SHOWN].decode(errors="replace").split())
    kind = answer.media_type or "no type"
    return f"{kind}, {text[:_SHOWN]!r}" if text else f"{kind}, and no body."
