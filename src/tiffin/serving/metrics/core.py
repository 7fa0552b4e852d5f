"""CoreMetrics: what the registry service counts.

Names and labels are those of Feast's core under the prefix ``tiffin_core_``; a status code is one of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tiffin import clock
from tiffin.serving.metrics.base import LATENCY_BOUNDS
from tiffin.serving.metrics.service import ServiceMetrics
from tiffin.serving.metrics.tally import Family

_PREFIX: Final = "tiffin_core"

_FAMILIES: Final = (
    Family(
        "tiffin_core_request_latency_seconds",
        "histogram",
        "Seconds a request took.",
        ("service", "method", "status_code"),
        LATENCY_BOUNDS,
    ),
    Family("tiffin_core_feature_set_total", "gauge", "Feature tables that exist.", merge="max"),
    Family("tiffin_core_store_total", "gauge", "Online stores that the service knows.", merge="max"),
    Family("tiffin_core_registry_version", "gauge", "Version of the registry.", merge="max"),
    Family(
        "tiffin_core_snapshot_age_seconds",
        "gauge",
        "Seconds since the definitions were last confirmed by the database.",
        merge="max",
    ),
    Family("tiffin_core_changes_total", "counter", "Changes of the registry.", ("project", "action")),
    Family("tiffin_core_tokens_total", "counter", "Tokens created and revoked.", ("action",)),
)


class CoreFacts(NamedTuple):
    """What the service knows of its registry. ``updated`` is when the database last confirmed it (UTC microseconds)."""

    updated: int
    version: int
    tables: int
    stores: int


class CoreMetrics(ServiceMetrics):
    """The counts of one worker of the registry service."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(_PREFIX, _FAMILIES, folder)
        self._facts: Callable[[], CoreFacts] | None = None
        self._latency = self._tally("request_latency_seconds")

    def watch(self, facts: Callable[[], CoreFacts]) -> None:
        """Ask ``facts`` whenever somebody looks; it must neither block nor fail."""
        self._facts = facts

    def request(self, method: str, status: int, seconds: float, service: str = "core") -> None:
        """Count a request that was answered. ``method`` is the name of a route, such as ``apply``, never its path."""
        with self._lock:
            self._latency.observe((service, method, str(status)), seconds)

    def change(self, project: str, action: str) -> None:
        """Count a change of the registry, such as ``apply``, in a project that exists."""
        self._count("changes_total", project, action)

    def token(self, action: str) -> None:
        """Count a token ``created`` or ``revoked``."""
        self._count("tokens_total", action)

    def _asked(self) -> dict[str, float]:
        found = super()._asked()
        if self._facts is None:
            return found
        facts = self._facts()
        return found | {
            "feature_set_total": facts.tables,
            "store_total": facts.stores,
            "registry_version": facts.version,
            "snapshot_age_seconds": max(0, clock.now() - facts.updated) / 1_000_000,
        }
