"""Logs of the services: a JSON object a line, or plain lines for people at a terminal.

Every line that belongs to a request carries its id, which the answer carries too. Whatever is written passes
:func:`scrubbed` last, tracebacks included, so that a credential in the message of some library does not reach a log.
"""

from __future__ import annotations

import itertools
import json as json_format
import logging
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from tiffin.errors import InvalidConfig

if TYPE_CHECKING:
    from tiffin.config import Config

#: The header of requests and answers, as ASGI spells it.
REQUEST_ID_HEADER: Final = b"x-request-id"

_SANE: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_request_id: ContextVar[str] = ContextVar("tiffin_request_id", default="")

#: What request ids of this process begin with, and how they go on. A new id costs no call of the system.
_process: Final = [os.urandom(6).hex()]
_numbers: Final = itertools.count()

_HIDDEN: Final = "****"
#: Without one of these words a text has nothing to hide, which is quickly seen.
_SUSPECT: Final = re.compile(r"://|bearer|basic|auth|pass|secret|token|key|tiffin_", re.IGNORECASE)
_SHORTEST: Final = len("token=x")
#: Each pattern keeps its first group. None looks far ahead, so that a long text takes no long time.
_SECRETS: Final = (
    re.compile(r"(://[^:/@\s]{0,256}:)\S{0,256}(?=@)"),  # passwords of URLs, which may hold any sign
    re.compile(r"(\b(?:bearer|basic)\s{1,8})[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
    re.compile(r"(\btiffin_[0-9a-f]{1,12}_)[0-9a-f]{16,}"),  # tokens of the services
    re.compile(
        r"(\b\w{0,64}(?:authorization|password|passwd|secret|token|api_?key|access_key)\b"
        r"(?:[\"']\s{0,8}[:=,]|\s{0,8}[:=])\s{0,8}b?[\"']?)"
        r"(?!\*{4})(?:(?:bearer|basic)\s{1,8})?[^\s\"',;&)}\]]+",
        re.IGNORECASE,
    ),
)
#: What a record may carry beside its message; nothing else of ``extra`` is written.
_FIELDS: Final = ("method", "route", "status", "ms", "principal", "project")
#: Libraries that log every request, with its address, where the service would, or every step of a start and stop.
_TALKATIVE: Final = ("httpx", "httpcore", "alembic", "uvicorn.access", "uvicorn.error", "opentelemetry")
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029) if code != 9}

_access = logging.getLogger("tiffin.access")
_encode = json_format.JSONEncoder(default=str).encode  # into ASCII, so that any text fits any stream


def configure(*, json: bool | None = None, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream``, by default stderr; a second call replaces the first.

    ``json`` None means plain lines on a terminal and JSON elsewhere. ``level`` is a name such as ``INFO``.
    """
    target = stream or sys.stderr
    if json is None:
        json = not target.isatty()
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    handler.set_name("tiffin")
    root = logging.getLogger()
    for other in [each for each in root.handlers if each.get_name() == "tiffin"]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def configure_from(config: Config) -> None:
    """As :func:`configure`, from the options ``log_format`` and ``log_level``; InvalidConfig names a wrong one."""
    chosen, level = config.get("log_format").lower(), config.get("log_level").upper()
    if chosen not in {"", "json", "plain"}:
        raise InvalidConfig(f"log_format is {chosen!r}.", field="log_format", hint="Write json or plain.")
    if level not in logging.getLevelNamesMapping():
        raise InvalidConfig(f"log_level is {level!r}.", field="log_level", hint="Write DEBUG, INFO, WARNING or ERROR.")
    configure(json=chosen == "json" if chosen else None, level=level)


def _after_fork() -> None:
    _process[0] = os.urandom(6).hex()


os.register_at_fork(after_in_child=_after_fork)


def request_id() -> str:
    """The id of the request that is being answered, empty outside of one."""
    return _request_id.get()


def begin_request(given: bytes | str | None) -> str:
    """Give the current task's request its id: the caller's if it is sane, else a new one."""
    if isinstance(given, bytes):
        given = given.decode("latin-1")
    chosen = given if given and _SANE.fullmatch(given) else f"{_process[0]}{next(_numbers):08x}"
    _request_id.set(chosen)
    return chosen


def scrubbed(text: str) -> str:
    """A text without the credentials in it: passwords of URLs, tokens after ``Bearer``, values named as secrets.

    >>> scrubbed("postgresql://tiffin:s3cret@db/registry")
    'postgresql://tiffin:****@db/registry'
    """
    if len(text) < _SHORTEST or _SUSPECT.search(text) is None:
        return text
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return text


class AccessLog:
    """One line a request, for a ``share`` of them between 0 and 1; faults of the service (5xx) always.

    A line costs some thirty microseconds, so a service of many small requests takes a share.
    """

    def __init__(self, share: float = 1.0) -> None:
        if not 0 <= share <= 1:
            raise InvalidConfig(
                f"access_log is {share}.",
                field="access_log",
                hint="Write a part of one, from 0 (none) to 1 (every request).",
            )
        self._share = share
        self._owed = 0.0

    @classmethod
    def of(cls, config: Config, default: float) -> AccessLog:
        """With the share that the option ``access_log`` names."""
        return cls(config.getfloat("access_log") if config.exists("access_log") else default)

    def wants(self, status: int) -> bool:
        """Whether the request that just ended is to be written; it counts as written."""
        if status >= 500:
            return True
        self._owed += self._share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True

    def write(self, method: str, route: str, status: int, seconds: float, principal: str = "") -> None:
        """Log a request if it is wanted. ``route`` is the pattern of its path, or the path where none matched."""
        if not self.wants(status):
            return
        level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
        if _access.isEnabledFor(level):
            fields = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 3)}
            _access.log(level, "request", extra=fields | {"principal": principal})


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request_id, and what it carries of ``_FIELDS``."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": scrubbed(record.getMessage()),
            "request_id": _request_id.get(),
        }
        fields.update(_carried(record))
        if trace := _traceback(record):
            fields["error"] = trace
        return _encode(fields)


class PlainFormatter(logging.Formatter):
    """A record as a line: time, level, logger, message, and what it carries as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _carried(record).items() if value != "")
        named = f"[{_request_id.get()}]" if _request_id.get() else ""
        parts = (_instant(record), f"{record.levelname:<7}", record.name, record.getMessage(), fields, named)
        # A message may hold what a caller sent: no line of theirs can pass for one of ours.
        line = scrubbed(" ".join(part for part in parts if part)).translate(_CONTROL)
        trace = _traceback(record)
        return f"{line}\n{trace}" if trace else line


def _carried(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: record.__dict__[name] for name in _FIELDS if name in record.__dict__}
    return {name: scrubbed(value) if isinstance(value, str) else value for name, value in found.items()}


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return scrubbed(logging.Formatter().formatException(record.exc_info))


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
