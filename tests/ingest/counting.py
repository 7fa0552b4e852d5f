"""A counter for tests, and a table whose every expectation one row fails."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import polars as pl

from tiffin import Entity, Feature, FeatureTable, ValueType
from tiffin.definitions.expectation import Between, InSet, Matches, NotNull, UniqueKeyAndTime
from tiffin.ingest.metrics import Counted, IngestionMetrics

AT = datetime(2026, 9, 1, tzinfo=UTC)

#: What each row of ``judged()`` but the first fails, and how it is told: column, value, a part of the reason.
FAILED: list[tuple[set[str], str, str, str]] = [
    ({"not_null_a"}, "a", "None", "expected a value, found null"),
    ({"between_a_0_100"}, "a", "101", "expected a value from 0 to 100"),
    ({"at_least_b_0"}, "b", "nan", "expected at least 0"),
    ({"in_set_c", "matches_c"}, "c", "'z'", "expected one of ['x', 'y']"),
    ({"matches_c"}, "c", "'y'", "expected a match of '^x'"),
    ({"unique_key_and_time"}, "event_timestamp", "2026", "same key and event time"),
]
#: How often each check fails over all rows.
FAILURES = Counter(label for labels, *_ in FAILED for label in labels)


def definitions(name: str = "t", **options: Any) -> list[Any]:
    expectations = [
        NotNull("a"),
        Between("a", 0, 100),
        Between("b", minimum=0),
        InSet("c", ["x", "y"]),
        Matches("c", "^x"),
        UniqueKeyAndTime(),
    ]
    features = [Feature("a", ValueType.INT64), Feature("b", ValueType.DOUBLE), Feature("c", ValueType.STRING)]
    key = Entity("k", value_type=ValueType.INT64)
    return [key, FeatureTable(name, ["k"], features, expectations=expectations, **options)]


def judged() -> pl.DataFrame:
    """A good row, and then one for each of FAILED."""
    return pl.DataFrame(
        {
            "k": [1, 2, 3, 4, 5, 6, 1],
            "event_timestamp": [AT] * 7,
            "a": [1, None, 101, 2, 3, 4, 5],
            "b": [0.5, 0.5, None, float("nan"), 0.0, 1.0, 2.0],
            "c": ["x", "x", None, "x", "z", "y", "x"],
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )


def shown_as(told: list[dict[str, Any]], positions: list[int]) -> None:
    """Assert that refused rows are told as FAILED says; ``positions`` are those of the rows of ``judged()``."""
    assert len(told) == len(positions)
    for entry, position in zip(told, positions, strict=True):
        _, column, value, reason = FAILED[position - 1]
        assert entry["column"] == column
        assert reason in entry["reason"]
        assert value in entry["value"]


class Recorder(IngestionMetrics):
    """Remembers what was counted, by kind and table and whatever else there is."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.newest: dict[str, int] = {}

    def read(self, table: Counted, n: int) -> None:
        self.counts["read", table.name] += n

    def written(self, table: Counted, n: int, *, store: str = "online") -> None:
        self.counts["written", table.name, store] += n

    def skipped(self, table: Counted, n: int) -> None:
        self.counts["skipped", table.name] += n

    def dead_lettered(self, table: Counted, n: int) -> None:
        self.counts["dead_lettered", table.name] += n

    def check_failed(self, table: Counted, check: str, n: int) -> None:
        self.counts["failed", table.name, check] += n

    def freshness(self, table: Counted, timestamp_us: int) -> None:
        self.newest[table.name] = max(timestamp_us, self.newest.get(table.name, timestamp_us))

    def of(self, kind: str, table: str = "t") -> dict[str, int]:
        """Counts of a kind that are not zero, by what else there is."""
        return {"/".join(key[2:]): n for key, n in self.counts.items() if key[:2] == (kind, table) and n}
