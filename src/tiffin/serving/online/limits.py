"""Limits: what one worker takes upon itself, and the errors that say so to whoever asks for more."""

from __future__ import annotations

from tiffin.config import Config
from tiffin.errors import InvalidArgument, Unavailable


class TooLarge(InvalidArgument):
    """The body of a request is larger than the service reads."""

    code = "too_large"
    status = 413


class TooMany(InvalidArgument):
    """A request asks for more ``what`` than the service answers: ``rows`` or ``features``."""

    code = "too_many"

    def __init__(self, what: str, asked: int, limit: int) -> None:
        super().__init__(
            f"The request asks for {asked} {what}, the limit is {limit}.",
            field="entities" if what == "rows" else what,
            hint=f"Ask for them in several requests, or raise serving_max_{what}.",
        )
        self.what = what


class MethodNotAllowed(InvalidArgument):
    """The route exists, but does not answer this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, path: str, method: str, allowed: str) -> None:
        super().__init__(f"{path} does not answer {method}.", field="method", hint=f"Use {allowed}.")
        self.allowed = allowed


class Busy(Unavailable):
    """The service does as much as it takes on at once."""

    code = "busy"
    status = 429


class OutOfTime(Unavailable):
    """A request took longer than the service gives it."""

    code = "out_of_time"


class Limits:
    """The limits of one worker, from the options; spans are in seconds."""

    def __init__(self, config: Config) -> None:
        self.body = config.getint("serving_max_body")
        self.rows = config.getint("serving_max_rows")
        self.features = config.getint("serving_max_features")
        self.requests = config.getint("serving_max_requests")
        self.writes = config.getint("serving_max_writes")
        self.time = config.getfloat("serving_timeout")
        self.write_time = config.getfloat("serving_write_timeout")

    def check_body(self, size: int) -> None:
        """Raise TooLarge for a body of more bytes than the service reads."""
        if size > self.body:
            raise TooLarge(
                f"The body of the request has more than {self.body} bytes.",
                field="body",
                hint="Send less at once, or raise serving_max_body.",
            )

    def check_rows(self, rows: int) -> None:
        """Raise TooMany for a request of more rows than the service answers."""
        if rows > self.rows:
            raise TooMany("rows", rows, self.rows)

    def check_features(self, features: int) -> None:
        """Raise TooMany for a request of more features than the service answers."""
        if features > self.features:
            raise TooMany("features", features, self.features)


class Places:
    """Room for a number of things at once, of which ``what`` is the plural. Used from one event loop."""

    def __init__(self, count: int, error: type[Unavailable], what: str) -> None:
        self.taken = 0
        self._count = count
        self._error = error
        self._what = what

    def enter(self) -> None:
        """Take a place, or raise the error that says to come back."""
        if self.taken >= self._count:
            raise self._error(
                f"The service is busy: it does {self._count} {self._what} at once.",
                hint="Try again in a moment.",
                retry_after=1.0,
            )
        self.taken += 1

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1
