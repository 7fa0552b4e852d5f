"""PlanCounts: what is counted of one set of features, in plain integers until somebody asks.

Most requests ask for the same few sets of features, and most rows are there. So a request costs a few additions
whatever its features are; only columns that lack a value are looked at one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from tiffin.online.read import Status
from tiffin.serving.metrics.tally import Tally

#: Bounds of rows a request, as Feast's.
ROW_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200)


class Cell:
    """The numbers of one plan. They outlive the plan until they were collected."""

    def __init__(self, project: str, names: Sequence[str]) -> None:
        self.project = project
        self.features = [_owned(project, name) for name in names]
        self.tables = len({(owner, name.partition(":")[0]) for owner, name in self.features})
        self._clear()

    def count(self, rows: int, statuses: Sequence[Sequence[Status]]) -> None:
        """Count one request of ``rows`` rows, answered with a column of statuses a feature."""
        self.requests += 1
        self.rows[bisect_left(ROW_BOUNDS, rows)] += 1
        self.rows[-1] += rows
        if not statuses:
            return
        first = statuses[0]
        if first is statuses[-1] and statuses.count(first) == len(statuses):
            # Where no value is absent, the features of a table share one column.
            missing, stale = _absent(first)
            self.missing_everywhere += missing
            self.stale_everywhere += stale
        else:
            self._count_columns(statuses)

    def collect(self, requested: Tally, missing: Tally, stale: Tally) -> None:
        """Move the counts of features into their tallies."""
        for place, labels in enumerate(self.features):
            requested.add(labels, self.requests)
            if absent := self.missing[place] + self.missing_everywhere:
                missing.add(labels, absent)
            if old := self.stale[place] + self.stale_everywhere:
                stale.add(labels, old)
        self._clear()

    def _count_columns(self, statuses: Sequence[Sequence[Status]]) -> None:
        previous: Sequence[Status] = ()
        missing = stale = 0
        for place, column in enumerate(statuses):
            if column is not previous:
                if column != previous:  # rows that are missing are so for every feature of their table
                    missing, stale = _absent(column)
                previous = column
            if missing:
                self.missing[place] += missing
            if stale:
                self.stale[place] += stale

    def _clear(self) -> None:
        self.requests = 0
        self.missing_everywhere = self.stale_everywhere = 0
        self.rows = [0] * (len(ROW_BOUNDS) + 2)
        self.missing = [0] * len(self.features)
        self.stale = [0] * len(self.features)


class PlanCounts:
    """The handle that a plan holds: see :meth:`ServingMetrics.plan`."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell


def _absent(column: Sequence[Status]) -> tuple[int, int]:
    """How many rows were not found, and how many were too old."""
    if column.count(Status.PRESENT) == len(column):
        return 0, 0
    return column.count(Status.NOT_FOUND), column.count(Status.OUTSIDE_MAX_AGE)


def _owned(project: str, name: str) -> tuple[str, str]:
    """The labels of a feature: the project that owns it, and ``table:feature``."""
    owner, separator, rest = name.rpartition("/")
    return (owner, rest) if separator else (project, name)
