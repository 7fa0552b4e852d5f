"""Metrics of ingestion: what every path counts, and the counter that counts nothing.

Whoever brings rows in is handed an :class:`IngestionMetrics`, as it is handed a control: with its
:class:`~tiffin.ingest.materialize.Route`, or as the keyword ``metrics``. Where the counts go is no concern of it: to
StatsD (:mod:`tiffin.ingest.statsd`), to ``/metrics`` of a service, to both, or nowhere.

What is already counted where: :func:`~tiffin.ingest.batch.ingest` counts rows read, written offline and dead-lettered,
and failed checks; :func:`~tiffin.ingest.materialize.write_frames` counts rows written online or skipped, and freshness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol


class Counted(Protocol):
    """The table that something is counted for; a :class:`~tiffin.definitions.schema.TableSchema` is one."""

    @property
    def project(self) -> str: ...

    @property
    def name(self) -> str: ...


class IngestionMetrics:
    """Counts nothing: the default, and the root of what does count.

    No method blocks or raises, and all may be called from any thread. A count of zero makes a series known.
    """

    def read(self, table: Counted, n: int) -> None:
        """``n`` rows were given by a caller, a stream or a history."""

    def written(self, table: Counted, n: int, *, store: Literal["online", "offline"] = "online") -> None:
        """``n`` rows were stored; those that were skipped are not among them."""

    def skipped(self, table: Counted, n: int) -> None:
        """``n`` rows were not written online, since the store had later ones."""

    def dead_lettered(self, table: Counted, n: int) -> None:
        """``n`` rows or messages were set aside as invalid."""

    def lag(self, table: Counted, seconds: float) -> None:
        """Rows became readable online ``seconds`` after their event; once a batch, for its oldest row, is enough."""

    def freshness(self, table: Counted, timestamp_us: int) -> None:
        """The latest event that was written online is of this instant (UTC microseconds); earlier ones change nothing.

        Told by the clock's difference, a table that nothing arrives for grows stale.
        """

    def check_failed(self, table: Counted, check: str, n: int) -> None:
        """``n`` rows failed a check, such as ``between_trips_0_100``."""

    def erased(self, table: Counted, n: int) -> None:
        """``n`` rows were removed because their entity was erased."""

    def streaming(self) -> IngestionMetrics:
        """The same for a stream, where what is counted tells streams from batches."""
        return self


#: For work that nobody measures.
UNMEASURED: Final = IngestionMetrics()


class Several(IngestionMetrics):
    """Counts in several places."""

    def __init__(self, places: Sequence[IngestionMetrics]) -> None:
        self._places = tuple(places)

    def read(self, table: Counted, n: int) -> None:
        for place in self._places:
            place.read(table, n)

    def written(self, table: Counted, n: int, *, store: Literal["online", "offline"] = "online") -> None:
        for place in self._places:
            place.written(table, n, store=store)

    def skipped(self, table: Counted, n: int) -> None:
        for place in self._places:
            place.skipped(table, n)

    def dead_lettered(self, table: Counted, n: int) -> None:
        for place in self._places:
            place.dead_lettered(table, n)

    def lag(self, table: Counted, seconds: float) -> None:
        for place in self._places:
            place.lag(table, seconds)

    def freshness(self, table: Counted, timestamp_us: int) -> None:
        for place in self._places:
            place.freshness(table, timestamp_us)

    def check_failed(self, table: Counted, check: str, n: int) -> None:
        for place in self._places:
            place.check_failed(table, check, n)

    def erased(self, table: Counted, n: int) -> None:
        for place in self._places:
            place.erased(table, n)

    def streaming(self) -> IngestionMetrics:
        return Several([place.streaming() for place in self._places])
