"""Tally: the series of one metric in this process, and how those of several processes are put together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

Labels = tuple[str, ...]
Series = dict[Labels, list[float]]
"""Values by label values. A counter or gauge has one number; a histogram its count a bucket, not cumulated, the last
beyond all bounds, and then the sum of what was observed."""
State = dict[str, Series]
"""All series of a process by the name of their metric."""

#: What labels are called of series beyond a metric's limit.
OVERFLOW: Final = "other"


class Family(NamedTuple):
    """One metric: its name, labels and bounds of buckets, and how processes' values make one value.

    ``limit`` bounds its series, whatever callers put into labels: those beyond it are counted together.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    merge: Literal["sum", "min", "max"] = "sum"
    limit: int = 1_000


class Tally:
    """Counts of one family. Not safe to use from several threads: its owner holds a lock."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.series: Series = {}
        self._zeros = [0.0] * (len(family.bounds) + 2 if family.kind == "histogram" else 1)

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count; zero makes the series known."""
        self._of(labels)[0] += amount

    def set(self, labels: Labels, value: float) -> None:
        """Set a gauge."""
        self._of(labels)[0] = value

    def observe(self, labels: Labels, value: float, times: int = 1) -> None:
        """Put a value into its bucket, whose bound is the least that is not below it."""
        values = self._of(labels)
        values[bisect_left(self.family.bounds, value)] += times
        values[-1] += value * times

    def join(self, labels: Labels, observed: Sequence[float]) -> None:
        """Add a histogram that was kept elsewhere."""
        values = self._of(labels)
        for place, number in enumerate(observed):
            values[place] += number

    def _of(self, labels: Labels) -> list[float]:
        values = self.series.get(labels)
        if values is None:
            if len(self.series) >= self.family.limit:
                labels = (OVERFLOW,) * len(labels)
            values = self.series.setdefault(labels, self._zeros.copy())
        return values


def merged(states: Iterable[State], families: Mapping[str, Family]) -> State:
    """The state of all processes as one; families that are not known, of another version, are left out."""
    whole: State = {}
    for state in states:
        for name, series in state.items():
            if name in families:
                _merge(whole.setdefault(name, {}), series, families[name])
    return whole


def _merge(into: Series, series: Series, family: Family) -> None:
    for labels, values in series.items():
        there = into.get(labels)
        if there is None or len(there) != len(values):
            into[labels] = list(values)
        elif family.merge == "sum":
            for place, value in enumerate(values):
                there[place] += value
        else:
            there[0] = (min if family.merge == "min" else max)(there[0], values[0])
