"""Metrics of ingestion to StatsD, in the words of Feast's ingestion jobs.

What is counted is held in memory and sent as deltas every so often by a thread, as UDP with DogStatsD tags; whoever
counts does no more than add to a number. Names are Feast's with ``tiffin_`` for ``feast_``: a stream counts under
``tiffin_online``, everything else under ``tiffin_offline``, and ``redis_sink`` is the online store, whichever it is.
"""

from __future__ import annotations

import atexit
import os
import random
import socket
import threading
import weakref
from collections.abc import Iterator
from statistics import fmean, pstdev
from typing import Final, Literal, NamedTuple

from tiffin.ingest.datagrams import Datagrams, line
from tiffin.ingest.metrics import Counted, IngestionMetrics

#: Seconds that an ending process gives to what was not sent.
EXIT_GRACE: Final = 2.0
#: Series that are held at once; what is counted beyond them is lost, which only nonsense in labels could bring about.
LIMIT: Final = 10_000
#: Lags of one interval that percentiles are taken of; of more, a fair sample.
_SAMPLES: Final = 1_024
_PERCENTILES: Final = {"p50": 0.5, "p75": 0.75, "p95": 0.95, "p98": 0.98, "p99": 0.99, "p999": 0.999}

_BATCH: Final = "tiffin_offline.driver"
_STREAM: Final = "tiffin_online.driver"


class _Series(NamedTuple):
    """What a number is of: the name of its metric, and its table."""

    name: str
    project: str
    table: str
    check: str = ""

    def tags(self, job_id: str = "") -> dict[str, str]:
        tags = {"feature_table": self.table, "project": self.project}
        return tags | ({"check": self.check} if self.check else {}) | ({"job_id": job_id} if job_id else {})


class _Lags:
    """Lags in milliseconds: how many since the start, and a sample of those since the last report."""

    def __init__(self) -> None:
        self.total = 0
        self.sample: list[float] = []
        self._seen = 0

    def add(self, milliseconds: float) -> None:
        self.total += 1
        self._seen += 1
        if len(self.sample) < _SAMPLES:
            self.sample.append(milliseconds)
        elif (place := random.randrange(self._seen)) < _SAMPLES:  # noqa: S311  # no secret
            self.sample[place] = milliseconds

    def take(self) -> list[float]:
        """The sample, sorted; the next begins."""
        taken, self.sample, self._seen = sorted(self.sample), [], 0
        return taken


class StatsD(IngestionMetrics):
    """Counts for StatsD, of a stream or not."""

    def __init__(self, reporter: Reporter, *, stream: bool = False) -> None:
        self._reporter = reporter
        self._prefix = _STREAM if stream else _BATCH

    def read(self, table: Counted, n: int) -> None:
        self._add(table, f"{self._prefix}.ingestion_pipeline.read_from_source_count", n)

    def written(self, table: Counted, n: int, *, store: Literal["online", "offline"] = "online") -> None:
        sink = "redis_sink" if store == "online" else "offline_sink"
        self._add(table, f"{self._prefix}.{sink}.feature_row_ingested_count", n)

    def skipped(self, table: Counted, n: int) -> None:
        self._add(table, f"{self._prefix}.redis_sink.feature_row_skipped_count", n)

    def dead_lettered(self, table: Counted, n: int) -> None:
        self._add(table, f"{self._prefix}.ingestion_pipeline.deadletter_count", n)

    def lag(self, table: Counted, seconds: float) -> None:
        name = f"{self._prefix}.redis_sink.feature_row_lag_ms"
        self._reporter.observe(_Series(name, table.project, table.name), max(0.0, seconds) * 1_000)

    def freshness(self, table: Counted, timestamp_us: int) -> None:
        kind = "streaming" if self._prefix == _STREAM else "batch"
        name = f"{self._prefix}.{kind}.last_processed_event_timestamp"
        self._reporter.raise_to(_Series(name, table.project, table.name), max(0, timestamp_us // 1_000_000))

    def check_failed(self, table: Counted, check: str, n: int) -> None:
        self._add(table, "tiffin_feature_validation_check_failed", n, check)

    def erased(self, table: Counted, n: int) -> None:
        self._add(table, f"{self._prefix}.ingestion_pipeline.erased_count", n)

    def streaming(self) -> StatsD:
        return StatsD(self._reporter, stream=True)

    def _add(self, table: Counted, name: str, n: int, check: str = "") -> None:
        self._reporter.add(_Series(name, table.project, table.name, check), n)


class Reporter:
    """Holds numbers, and sends them every ``interval`` seconds and at the end, from a thread that the first one starts.

    A server that is away, or a name that nothing answers to, costs the numbers and nothing else.
    """

    def __init__(self, host: str, port: int, *, interval: float = 30.0) -> None:
        self._datagrams = Datagrams(host, port)
        self._interval = interval
        self.reset()
        _REPORTERS.add(self)

    def reset(self) -> None:
        """Know of nothing: what a process begins with, and a fork, whose parent sends what it counted."""
        self._lock = threading.Lock()
        self._counts: dict[_Series, int] = {}
        self._highest: dict[_Series, int] = {}
        self._lags: dict[_Series, _Lags] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def add(self, series: _Series, n: int) -> None:
        """Count; zero makes the series known."""
        with self._lock:
            if series in self._counts or len(self._counts) < LIMIT:
                self._counts[series] = self._counts.get(series, 0) + n
                self._begin()

    def raise_to(self, series: _Series, value: int) -> None:
        """Remember the highest value."""
        with self._lock:
            if series in self._highest or len(self._highest) < LIMIT:
                self._highest[series] = max(value, self._highest.get(series, 0))
                self._begin()

    def observe(self, series: _Series, milliseconds: float) -> None:
        """Put a lag to the others."""
        with self._lock:
            if series in self._lags or len(self._lags) < LIMIT:
                self._lags.setdefault(series, _Lags()).add(milliseconds)
                self._begin()

    def close(self, grace: float = EXIT_GRACE) -> None:
        """Send what is left, within ``grace`` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._stop = threading.Event()
        if thread is not None:
            thread.join(grace)

    def _begin(self) -> None:
        """Start the thread where it does not run; called with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._stop,), name="tiffin-statsd", daemon=True)
            self._thread.start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval):
            self._datagrams.send(self._report())
        self._datagrams.send(self._report())

    def _report(self) -> list[str]:
        """Everything since the last report, a line a number."""
        with self._lock:
            counts, self._counts = self._counts, {}
            highest = dict(self._highest)
            lags = [(series, lag.total, taken) for series, lag in self._lags.items() if (taken := lag.take())]
        lines = [line(series.name, n, "c", series.tags()) for series, n in counts.items()]
        lines += [line(series.name, value, "g", series.tags()) for series, value in highest.items()]
        for series, total, sample in lags:
            lines += _histogram(series, total, sample)
        return lines


def _histogram(series: _Series, total: int, sample: list[float]) -> Iterator[str]:
    """Lags as the histogram of Feast's jobs: a gauge of how many there were, and timers of what they were like."""
    tags = series.tags(f"{socket.gethostname()}-{os.getpid()}")
    yield line(f"{series.name}.count", total, "g", tags)
    last = len(sample) - 1
    shown = {"max": sample[-1], "mean": fmean(sample), "min": sample[0], "stddev": pstdev(sample)}
    shown |= {name: sample[round(share * last)] for name, share in _PERCENTILES.items()}
    for name, value in shown.items():
        yield line(f"{series.name}.{name}", value, "ms", tags)


_REPORTERS: Final[weakref.WeakSet[Reporter]] = weakref.WeakSet()


def _close_all() -> None:
    for reporter in list(_REPORTERS):
        reporter.close()


def _reset_all() -> None:
    for reporter in list(_REPORTERS):
        reporter.reset()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_reset_all)
