"""What was measured: medians by section, case and contender."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.runner import Outcome

TIFFIN = "Tiffin"
FEAST = "Feast"
FEAST_DUCKDB = "Feast, duckdb store"
FEAST_DEFAULT = "Feast, default store"
POLARS = "bare Polars"
DUCKDB = "bare DuckDB"
LMDB = "bare LMDB"
DELTA = "bare delta-rs"
REDIS = "bare redis-py"
CONSUMER = "bare consumer and redis-py"
TIFFIN_ONLINE = "Tiffin, online alone"
TIFFIN_REDIS = "Tiffin, Redis"
TIFFIN_LMDB = "Tiffin, LMDB"
FEAST_REDIS = "Feast, Redis"
FEAST_SQLITE = "Feast, SQLite"


@dataclass
class Measurement:
    """One contender at one case, over as many fresh processes as there were runs."""

    section: str
    case: str
    contender: str
    runs: list[Outcome] = field(default_factory=list)

    @property
    def error(self) -> str:
        return next((run.error for run in self.runs if run.error), "")

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak_mb(self) -> float:
        return statistics.median(run.peak_mb for run in self.runs)

    def fact(self, name: str) -> Any:
        return self.runs[0].facts.get(name)

    def median(self, name: str) -> float:
        """The median of a fact that every run reported as a number."""
        return statistics.median(float(run.facts[name]) for run in self.runs)

    @property
    def winners(self) -> tuple[Any, ...]:
        return self.runs[0].winners


class Results:
    """All measurements of one run, in the order in which they were first made."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Measurement] = {}

    def add(self, section: str, case: str, contender: str, outcome: Outcome) -> None:
        key = (section, case, contender)
        self._found.setdefault(key, Measurement(*key)).runs.append(outcome)

    def get(self, section: str, case: str, contender: str) -> Measurement | None:
        """The measurement, or None when it was not made or failed."""
        found = self._found.get((section, case, contender))
        return None if found is None or found.error else found

    def section(self, name: str) -> list[Measurement]:
        return [found for found in self._found.values() if found.section == name]

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self._found.values())
