"""ServingMetrics: what the online service counts.

Names and labels are those of Feast's online serving under the prefix ``tiffin_serving_``, with HTTP in place of gRPC:
``feast_serving_grpc_request_count`` is ``tiffin_serving_request_count``, and a status code is one of HTTP.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tiffin import clock
from tiffin.online.read import Status
from tiffin.serving.metrics.base import LATENCY_BOUNDS
from tiffin.serving.metrics.plan import ROW_BOUNDS, Cell, PlanCounts
from tiffin.serving.metrics.service import ServiceMetrics
from tiffin.serving.metrics.tally import Family

_PREFIX: Final = "tiffin_serving"
_FEATURE: Final = ("project", "feature_name")
_FEATURES: Final = 100_000
#: Plans beyond those in use whose counts may wait.
_CELLS: Final = 512

_FAMILIES: Final = (
    Family(
        "tiffin_serving_request_latency_seconds",
        "histogram",
        "Seconds a request took.",
        ("method", "project"),
        LATENCY_BOUNDS,
    ),
    Family("tiffin_serving_request_count", "counter", "Requests answered.", ("method", "status_code")),
    Family(
        "tiffin_serving_request_entity_count_distribution", "histogram", "Rows a request.", ("project",), ROW_BOUNDS
    ),
    Family(
        "tiffin_serving_request_feature_count_distribution",
        "histogram",
        "Features a request.",
        ("project",),
        (1, 2, 5, 10, 15, 20, 30, 50),
    ),
    Family(
        "tiffin_serving_request_feature_table_count_distribution",
        "histogram",
        "Feature tables a request.",
        ("project",),
        (1, 2, 5, 10, 20),
    ),
    Family(
        "tiffin_serving_request_feature_count",
        "counter",
        "Requests that asked for a feature.",
        _FEATURE,
        limit=_FEATURES,
    ),
    Family(
        "tiffin_serving_not_found_feature_count",
        "counter",
        "Rows in which a feature was not found.",
        _FEATURE,
        limit=_FEATURES,
    ),
    Family(
        "tiffin_serving_stale_feature_count",
        "counter",
        "Rows in which a feature was older than its max age.",
        _FEATURE,
        limit=_FEATURES,
    ),
    Family(
        "tiffin_serving_cache_last_updated",
        "gauge",
        "When the definitions were last confirmed, in milliseconds of UNIX.",
        merge="min",
    ),
    Family("tiffin_serving_feature_table_count", "gauge", "Feature tables that are known.", merge="max"),
    Family(
        "tiffin_serving_snapshot_age_seconds",
        "gauge",
        "Seconds since the definitions were last confirmed by the registry.",
        merge="max",
    ),
    Family("tiffin_serving_registry_version", "gauge", "Version of the definitions in use.", merge="min"),
    Family(
        "tiffin_serving_coalesced_requests",
        "histogram",
        "Requests that one reading of the store answered.",
        (),
        (1, 2, 4, 8, 16, 32, 64, 128),
    ),
    Family("tiffin_serving_pushed_rows_total", "counter", "Rows written through the service.", ("project",)),
)


class ServingFacts(NamedTuple):
    """What the service knows of its definitions: when the registry last confirmed them (UTC microseconds)."""

    updated: int
    version: int
    tables: int


class ServingMetrics(ServiceMetrics):
    """The counts of one worker of the online service."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(_PREFIX, _FAMILIES, folder)
        self._cells: list[tuple[weakref.ref[PlanCounts], Cell]] = []
        self._room = _CELLS
        self._facts: Callable[[], ServingFacts] | None = None
        self._latency = self._tally("request_latency_seconds")
        self._requests = self._tally("request_count")
        self._batches = self._tally("coalesced_requests")

    def watch(self, facts: Callable[[], ServingFacts]) -> None:
        """Ask ``facts`` whenever somebody looks; it must neither block nor fail."""
        self._facts = facts

    def plan(self, project: str, names: Sequence[str]) -> PlanCounts:
        """Counts for a plan, to be kept with it: ``names`` are its features in order, of ``project`` unless they say.

        A name is ``table:feature`` or ``project/table:feature``. Only features that exist may be named, so that bad
        requests add no series.
        """
        cell = Cell(project, names)
        counts = PlanCounts(cell)
        with self._lock:
            if len(self._cells) >= self._room:
                self._collect()  # plans come and go although nobody looks
            self._cells.append((weakref.ref(counts), cell))
        return counts

    def read(self, counts: PlanCounts, rows: int, statuses: Sequence[Sequence[Status]]) -> None:
        """Count an answer: its rows and, a column a feature in the plan's order, its statuses."""
        with self._lock:
            counts.cell.count(rows, statuses)

    def request(self, method: str, status: int, seconds: float, project: str = "") -> None:
        """Count a request that was answered.

        ``method`` is the name of a route, such as ``get_online_features``, never its path; ``project`` one that exists,
        or empty.
        """
        with self._lock:
            self._latency.observe((method, project), seconds)
            self._requests.add((method, str(status)))

    def batch(self, requests: int) -> None:
        """Count one reading of the store, and how many requests it was for."""
        with self._lock:
            self._batches.observe((), requests)

    def pushed(self, project: str, rows: int) -> None:
        """Count rows that were written through the service."""
        with self._lock:
            self._tally("pushed_rows_total").add((project,), rows)

    def _asked(self) -> dict[str, float]:
        found = super()._asked()
        if self._facts is None:
            return found
        facts = self._facts()
        return found | {
            "cache_last_updated": facts.updated // 1_000,
            "snapshot_age_seconds": max(0, clock.now() - facts.updated) / 1_000_000,
            "registry_version": facts.version,
            "feature_table_count": facts.tables,
        }

    def _collect(self) -> None:
        living = []
        for reference, cell in self._cells:
            # Looked at before it is collected: whoever let go of it since has counted nothing more.
            alive = reference() is not None
            if cell.requests:
                self._collect_cell(cell)
            if alive:
                living.append((reference, cell))
        self._cells = living
        self._room = 2 * len(living) + _CELLS

    def _collect_cell(self, cell: Cell) -> None:
        project = (cell.project,)
        self._tally("request_entity_count_distribution").join(project, cell.rows)
        self._tally("request_feature_count_distribution").observe(project, len(cell.features), cell.requests)
        self._tally("request_feature_table_count_distribution").observe(project, cell.tables, cell.requests)
        cell.collect(
            self._tally("request_feature_count"),
            self._tally("not_found_feature_count"),
            self._tally("stale_feature_count"),
        )
