"""Ingestion as Prometheus is told of it: the same names from services, streams and jobs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Literal

from tiffin.ingest.metrics import Counted, IngestionMetrics
from tiffin.serving.metrics.tally import Family, Tally

_TABLE: Final = ("project", "feature_table")
#: From what a stream takes at its best to what a table lags behind that is loaded once a day.
_LAG_BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0)

#: Every table may have several checks, and a store many tables.
_SERIES: Final = 10_000

FAMILIES: Final = tuple(
    family._replace(limit=_SERIES)
    for family in (
        Family(
            "tiffin_ingestion_rows_read_total", "counter", "Rows that were given, by callers, streams or files.", _TABLE
        ),
        Family("tiffin_ingestion_rows_written_total", "counter", "Rows that were stored.", (*_TABLE, "store")),
        Family(
            "tiffin_ingestion_rows_skipped_total", "counter", "Rows that the online store had later ones for.", _TABLE
        ),
        Family(
            "tiffin_ingestion_rows_dead_lettered_total", "counter", "Rows and messages set aside as invalid.", _TABLE
        ),
        Family("tiffin_ingestion_rows_erased_total", "counter", "Rows whose entities were erased.", _TABLE),
        Family("tiffin_ingestion_checks_failed_total", "counter", "Rows that failed a check.", (*_TABLE, "check")),
        Family(
            "tiffin_ingestion_lag_seconds",
            "histogram",
            "Seconds from events until their rows could be read online.",
            _TABLE,
            _LAG_BOUNDS,
        ),
        Family(
            "tiffin_ingestion_newest_event_timestamp_seconds",
            "gauge",
            "The latest event that was written online, in seconds of UNIX.",
            _TABLE,
            merge="max",
        ),
    )
)


class IngestionCounts(IngestionMetrics):
    """Counts in the tallies of one process, which ``lock`` keeps from being used twice at once."""

    def __init__(self, tallies: Mapping[str, Tally], lock: threading.Lock) -> None:
        self._tallies = tallies
        self._lock = lock

    def read(self, table: Counted, n: int) -> None:
        self._add("rows_read_total", table, n)

    def written(self, table: Counted, n: int, *, store: Literal["online", "offline"] = "online") -> None:
        self._add("rows_written_total", table, n, store)

    def skipped(self, table: Counted, n: int) -> None:
        self._add("rows_skipped_total", table, n)

    def dead_lettered(self, table: Counted, n: int) -> None:
        self._add("rows_dead_lettered_total", table, n)

    def erased(self, table: Counted, n: int) -> None:
        self._add("rows_erased_total", table, n)

    def check_failed(self, table: Counted, check: str, n: int) -> None:
        self._add("checks_failed_total", table, n, check)

    def lag(self, table: Counted, seconds: float) -> None:
        with self._lock:
            self._tally("lag_seconds").observe((table.project, table.name), max(0.0, seconds))

    def freshness(self, table: Counted, timestamp_us: int) -> None:
        labels, seconds = (table.project, table.name), timestamp_us / 1_000_000
        with self._lock:
            tally = self._tally("newest_event_timestamp_seconds")
            tally.set(labels, max(seconds, *tally.series.get(labels, (seconds,))))

    def _add(self, name: str, table: Counted, n: int, *more: str) -> None:
        with self._lock:
            self._tally(name).add((table.project, table.name, *more), n)

    def _tally(self, name: str) -> Tally:
        return self._tallies[f"tiffin_ingestion_{name}"]
