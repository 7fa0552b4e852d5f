"""What is joined, written and read: the size of each piece of work, in data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

ENTITY = "entity_id"
EVENT = "event_timestamp"
CREATED = "created_timestamp"

END = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=90)
MAX_AGE = timedelta(days=30)


@dataclass(frozen=True)
class Shape:
    """One or more feature tables of equal size, and the entity rows that ask for them."""

    name: str
    rows: int
    entity_rows: int
    features: int
    tables: int = 1
    events_per_key: int = 100
    files: int = 1

    @property
    def keys(self) -> int:
        return max(1, self.rows // self.events_per_key)

    @property
    def table_names(self) -> list[str]:
        return [f"t{number}" for number in range(self.tables)]

    @property
    def feature_names(self) -> list[str]:
        """The first feature, ``f00``, is the number of its row: its sum over an answer tells which rows won."""
        return [f"f{number:02d}" for number in range(self.features)]

    @property
    def row_bytes(self) -> int:
        """Bytes of one feature row in memory: a key, two instants and the features, eight bytes each."""
        return 8 * (3 + self.features)

    @property
    def title(self) -> str:
        tables = f"{self.tables} tables of " if self.tables > 1 else ""
        asked = f" x {count(self.entity_rows)}" if self.entity_rows else ""
        history = f"{self.features} features, {self.events_per_key} events a key"
        return f"{self.name}: {tables}{count(self.rows)}{asked}, {history}"

    def random_keys(self, rows: int, times: int) -> list[list[int]]:
        """Keys of `times` online requests for `rows` rows each, the same in every process."""
        random = Random(1)
        return [[random.randrange(self.keys) for _ in range(rows)] for _ in range(times)]

    def shrunk(self, factor: int) -> "Shape":
        """The same shape, `factor` times smaller, for a run that only shows that everything works."""
        return replace(self, rows=self.rows // factor, entity_rows=self.entity_rows // factor)


def count(number: int) -> str:
    """Like 100 k or 10 M."""
    if number % 1_000_000 == 0 and number:
        return f"{number // 1_000_000} M"
    return f"{number // 1000} k" if number % 1000 == 0 and number else str(number)


JOINS: Sequence[Shape] = (
    Shape("s1", rows=100_000, entity_rows=10_000, features=5),
    Shape("s2", rows=1_000_000, entity_rows=100_000, features=5),
    Shape("s2deep", rows=1_000_000, entity_rows=100_000, features=5, events_per_key=1000),
    Shape("s3", rows=10_000_000, entity_rows=1_000_000, features=5),
    Shape("s4", rows=1_000_000, entity_rows=100_000, features=10, tables=5),
)

# Run once before the clock starts, so that no contender is charged for code it loads on first use.
WARM = Shape("warm", rows=1000, entity_rows=100, features=5)

# 2.56 GB in memory: ten times the budget that the join is given.
BUDGET = Shape("budget", rows=20_000_000, entity_rows=1_000_000, features=13, files=20)
BUDGET_MB = 256

ONLINE: Sequence[Shape] = (
    Shape("online5", rows=10_000, entity_rows=0, features=5, events_per_key=1),
    Shape("online50", rows=10_000, entity_rows=0, features=50, events_per_key=1),
)

FLAT: Sequence[Shape] = (
    Shape("flat100k", rows=100_000, entity_rows=0, features=5, events_per_key=1),
    Shape("flat1m", rows=1_000_000, entity_rows=0, features=5, events_per_key=1),
)

INGEST = Shape("ingest", rows=1_000_000, entity_rows=0, features=5)
