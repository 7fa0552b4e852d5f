"""Every error that Tiffin raises, in one tree.

::

    TiffinError
    ├── InvalidArgument (ValueError)         a call that cannot be answered as asked
    │   ├── InvalidDefinition                an entity, feature, table, service or source breaks a rule
    │   ├── InvalidReference                 a reference that cannot be read, or two that collide
    │   ├── InvalidConfig                    an option that is unknown or has no usable value
    │   └── InvalidData                      rows or columns that do not fit the declared schema
    ├── NotFound (LookupError)               what was named does not exist
    ├── AlreadyExists                        what should be created is there already
    ├── Conflict                             the same key was used for other content
    │   └── ConcurrentChange                 another writer changed the object first: retry
    ├── FailedPrecondition                   the state of things forbids it
    │   ├── BreakingChange                   needs ``allow_breaking=True``
    │   └── ProjectArchived                  an archived project is read-only
    ├── Unauthenticated                      no or bad credentials
    ├── PermissionDenied (PermissionError)   known, but not allowed
    ├── Unsupported (NotImplementedError)    a declared gap of an engine, store or launcher
    ├── MissingDependency (ImportError)      an optional driver is not installed
    ├── StorageError (OSError)               a folder, bucket or disk refused the work
    │   └── CorruptData                      bytes that Tiffin did not write, or that changed since
    ├── Unavailable (ConnectionError)        a dependency is down or load is shed: retry later
    └── JobError
        ├── JobFailed                        the job ended with an error; ``__cause__`` holds it
        ├── JobCancelled                     the job was cancelled before it finished
        └── JobTimeout (TimeoutError)        it did not end within the time given; it goes on

A message says what was asked, what was found and what to do. ``field`` names the argument or column at fault and
``hint`` the next step, so that a service can hand them on as data (semantics, section 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar


class TiffinError(Exception):
    """The root of the tree: ``except TiffinError`` catches everything that Tiffin raises on purpose."""

    #: Stable, machine-readable name of the kind of error.
    code: ClassVar[str] = "internal"
    #: The HTTP status that a service answers with.
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.field = field
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data: code, message, field and hint."""
        return {"code": self.code, "message": self.message, "field": self.field, "hint": self.hint}


class InvalidArgument(TiffinError, ValueError):
    """A call that cannot be answered as it was asked."""

    code = "invalid_argument"
    status = 422


class InvalidDefinition(InvalidArgument):
    """A definition breaks a rule of names or types (semantics, sections 1 and 2)."""

    code = "invalid_definition"


class InvalidReference(InvalidArgument):
    """A feature reference that cannot be read, or two that would yield the same column."""

    code = "invalid_reference"


class InvalidConfig(InvalidArgument):
    """An option that does not exist or whose value cannot be used."""

    code = "invalid_config"


class InvalidData(InvalidArgument):
    """Rows or columns do not fit the declared schema.

    ``rejected`` holds the first rows at fault, each ``{"row": position, "column": name, "reason": text, "value":
    repr}``.
    """

    code = "invalid_data"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        rejected: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message, field=field, hint=hint)
        self.rejected = list(rejected)

    def to_dict(self) -> dict[str, Any]:
        """As the base, with the first rejected rows."""
        return super().to_dict() | {"rejected": self.rejected}


class NotFound(TiffinError, LookupError):
    """What was named does not exist."""

    code = "not_found"
    status = 404


class AlreadyExists(TiffinError):
    """What should be created is there already."""

    code = "already_exists"
    status = 409


class Conflict(TiffinError):
    """The same key was used before for other content."""

    code = "conflict"
    status = 409


class ConcurrentChange(Conflict):
    """Another writer changed the same object first; read it again and retry."""

    code = "concurrent_change"


class FailedPrecondition(TiffinError):
    """The state of things forbids the call."""

    code = "failed_precondition"
    status = 409


class BreakingChange(FailedPrecondition):
    """A breaking or destructive change without ``allow_breaking=True`` (semantics, section 6)."""

    code = "breaking_change"


class ProjectArchived(FailedPrecondition):
    """An archived project is read-only."""

    code = "project_archived"


class Unauthenticated(TiffinError):
    """No credentials, or credentials that are not known."""

    code = "unauthenticated"
    status = 401


class PermissionDenied(TiffinError, PermissionError):
    """The caller is known, but its role does not allow the call."""

    code = "permission_denied"
    status = 403


class Unsupported(TiffinError, NotImplementedError):
    """A declared gap: the engine, store or launcher cannot do this, and says so instead of doing less."""

    code = "unsupported"
    status = 422


class MissingDependency(TiffinError, ImportError):
    """An optional driver is not installed; the message holds the line that installs it."""

    code = "missing_dependency"
    status = 422

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.",
            hint=f'Install it with: pip install "tiffin[{extra}]"',
        )


class StorageError(TiffinError, OSError):
    """A folder, bucket or disk refused the work; nothing was half-written."""

    code = "storage_error"
    status = 422


class CorruptData(StorageError):
    """Stored bytes that cannot be read back: written by something else, or changed since."""

    code = "corrupt_data"
    status = 500


class Unavailable(TiffinError, ConnectionError):
    """A dependency is down or load is shed; ``retry_after`` says in how many seconds to try again."""

    code = "unavailable"
    status = 503

    def __init__(
        self, message: str, *, field: str | None = None, hint: str | None = None, retry_after: float = 1.0
    ) -> None:
        super().__init__(message, field=field, hint=hint)
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, Any]:
        """As the base, with the seconds to wait."""
        return super().to_dict() | {"retry_after": self.retry_after}


class JobError(TiffinError):
    """A job did not give its result."""

    code = "job_error"


class JobFailed(JobError):
    """The job ended with an error, held in ``__cause__`` where it is known in this process."""

    code = "job_failed"


class JobCancelled(JobError):
    """The job was cancelled before it finished."""

    code = "job_cancelled"
    status = 409


class JobTimeout(JobError, TimeoutError):
    """The job did not end within the time given; it goes on."""

    code = "job_timeout"
    status = 408


class TiffinWarning(UserWarning):
    """The root of Tiffin's warnings."""


class NameWarning(TiffinWarning):
    """An allowed name that other systems reserve."""


class EvictionWarning(TiffinWarning):
    """The online store's server may throw rows away when its memory is full."""


class StaleStoreWarning(TiffinWarning):
    """Commits wait that were not materialised yet, so an online read may miss them."""


def error_from(data: Mapping[str, Any], status: int = 500) -> TiffinError:
    """The error that :meth:`TiffinError.to_dict` told, as a service answered it; ``status`` decides for unknown codes.

    >>> error_from({"code": "not_found", "message": "There is no table 'x'.", "field": "table", "hint": None})
    NotFound("There is no table 'x'.")
    """
    kind = _by_code().get(str(data.get("code")))
    if kind is None:
        kind = _by_status().get(status, TiffinError)
    # Built without its own __init__, which asks some kinds for parts that do not travel.
    error = kind.__new__(kind)
    TiffinError.__init__(
        error, str(data.get("message", "The service gave no reason.")), field=data.get("field"), hint=data.get("hint")
    )
    if isinstance(error, InvalidData):
        error.rejected = list(data.get("rejected", ()))
    if isinstance(error, Unavailable):
        error.retry_after = float(data.get("retry_after", 1.0))
    return error


def _by_code() -> dict[str, type[TiffinError]]:
    found: dict[str, type[TiffinError]] = {}
    waiting = [TiffinError]
    while waiting:
        kind = waiting.pop()
        # Kinds of other modules are those of this tree with something added, under the same code.
        if kind.__module__ == __name__:
            found[kind.code] = kind
            waiting.extend(kind.__subclasses__())
    return found


def _by_status() -> dict[int, type[TiffinError]]:
    """For answers of proxies and of other services, which do not know Tiffin's codes."""
    kinds: tuple[type[TiffinError], ...] = (
        InvalidArgument,
        NotFound,
        Conflict,
        Unauthenticated,
        PermissionDenied,
        Unavailable,
    )
    return {kind.status: kind for kind in kinds} | {400: InvalidArgument, 413: InvalidArgument, 429: Unavailable}


def closest(name: str, known: Iterable[str]) -> str:
    """The words that follow a wrong name: the closest match, or what exists.

    >>> closest("driver", ["drivers", "planes"])
    "Did you mean 'drivers'?"
    >>> closest("x", [])
    'None exist yet: apply it first.'
    """
    names = sorted(known)
    if not names:
        return "None exist yet: apply it first."
    matches = get_close_matches(name, names, n=1, cutoff=0.6)
    if matches:
        return f"Did you mean {matches[0]!r}?"
    shown = ", ".join(repr(n) for n in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"There are: {shown}{more}."
