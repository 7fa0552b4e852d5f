"""Findings: what a verification has found of one table so far, counted, with examples."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tiffin.definitions.schema import TableSchema
from tiffin.ingest.consistency import Difference, Kind, State, TableReport
from tiffin.ingest.expected import Excuse


class Findings:
    """Counts of differences, of what is none, and the first differences as examples."""

    def __init__(self, table: TableSchema, examples: int, *, filled: bool = False) -> None:
        self._table = table
        self._most = examples
        self._kinds: Counter[Kind] = Counter()
        self._excuses: Counter[Excuse] = Counter()
        self._examples: list[Difference] = []
        #: Whether the table is known to have been materialised, whatever the store says.
        self.filled = filled
        self.compared = 0
        self.moving = 0
        self.online_only = 0
        self.fixed = 0

    @property
    def found(self) -> int:
        """How many keys differ."""
        return self._kinds.total()

    def counts(self, kind: Kind) -> bool:
        """Count a difference; whether there is room to show it."""
        self._kinds[kind] += 1
        return len(self._examples) < self._most

    def show(self, example: Difference) -> None:
        """Keep an example."""
        self._examples.append(example)

    def excuse(self, excuse: Excuse) -> None:
        """Count an absent row that is no difference."""
        self._excuses[excuse] += 1

    def report(self, state: State) -> TableReport:
        """All of it."""
        counts: dict[str, Any] = {excuse.value: self._excuses[excuse] for excuse in Excuse}
        return TableReport(
            self._table.project,
            self._table.name,
            state,
            compared=self.compared,
            differences=dict(self._kinds),
            online_only=self.online_only,
            moving=self.moving,
            fixed=self.fixed,
            examples=tuple(self._examples),
            **counts,
        )
