"""Control: how long work reports its progress and learns that it should stop.

Engines and ingestion take a control and know nothing of jobs: :meth:`Control.check` between two buckets or batches
raises where the work was cancelled.
"""

from __future__ import annotations


class Control:
    """The control of work that nobody watches: every method does nothing."""

    def check(self) -> None:
        """Raise JobCancelled if the work should stop; called at least between two buckets or batches."""

    def progress(self, done: int, total: int | None = None, *, unit: str = "rows") -> None:
        """``done`` of ``total`` units are finished; ``total`` is None while it is not known."""

    def rows(self, written: int, skipped: int = 0, rejected: int = 0) -> None:
        """The rows so far, of work that goes on for long: what ``Outcome`` says when it ends."""

    def lag(self, seconds: float | None) -> None:
        """How many seconds the work is behind its source."""

    def log(self, line: str) -> None:
        """One line for whoever reads the log of the work."""


#: For callers that neither watch nor cancel.
UNWATCHED = Control()
