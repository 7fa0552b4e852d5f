"""ServiceMetrics: what both services count of their callers and of what they stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.serving.metrics.base import Metrics
from tiffin.serving.metrics.tally import Family


class ServiceMetrics(Metrics):
    """The counts of one worker of a service."""

    def __init__(self, prefix: str, families: Sequence[Family], folder: Path | None = None) -> None:
        shared = (
            Family(f"{prefix}_auth_denied_total", "counter", "Requests that were denied.", ("reason",)),
            Family(f"{prefix}_audit_dropped_total", "counter", "Denials that the audit log has no room for."),
            Family(
                f"{prefix}_access_age_seconds", "gauge", "Seconds since the known tokens were confirmed.", merge="max"
            ),
            Family(f"{prefix}_store_errors_total", "counter", "Errors of stores and databases.", ("store", "code")),
            Family(f"{prefix}_limit_rejections_total", "counter", "Requests refused by a limit.", ("limit",)),
        )
        super().__init__(prefix, [*families, *shared], folder)
        self._gate: Callable[[], tuple[int, float | None]] | None = None

    def denied(self, reason: str) -> None:
        """Count a request that was denied: ``unauthenticated`` or ``permission``."""
        self._count("auth_denied_total", reason)

    def follow(self, gate: Callable[[], tuple[int, float | None]]) -> None:
        """Ask ``gate`` whenever somebody looks; it must not block.

        It tells how many denials were not recorded, and the age of the tokens it knows, in seconds, None without any.
        """
        self._gate = gate

    def store_error(self, store: str, code: str) -> None:
        """Count an error of ``online`` or ``registry`` by the code of the error, such as ``unavailable``."""
        self._count("store_errors_total", store, code)

    def limited(self, limit: str) -> None:
        """Count a request refused by a limit: ``body``, ``rows``, ``features``, ``time`` or ``load``."""
        self._count("limit_rejections_total", limit)

    def _asked(self) -> dict[str, float]:
        if self._gate is None:
            return {}
        dropped, age = self._gate()
        return {"audit_dropped_total": dropped} | ({} if age is None else {"access_age_seconds": age})
