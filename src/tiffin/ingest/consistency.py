"""ConsistencyReport: where the online store and the history differ, as plain data."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Kind(enum.StrEnum):
    """How a row differs."""

    #: The history has a row of the key that should be online, and nothing is.
    MISSING = "missing"
    #: Online is a row of lower rank, or one that was written before a change of the definition.
    STALE = "stale"
    #: Online is a row of this rank with other bytes, or one that cannot be read or is of no rank in the history.
    DIFFERENT = "different"
    #: The history has no row of the key at all.
    ORPHANED = "orphaned"


class State(enum.StrEnum):
    """What was done with a table."""

    COMPARED = "compared"
    #: Nothing of it was ever brought online.
    NEVER_MATERIALIZED = "never materialized"
    #: Its rows are in no history: nothing tells what should be online.
    NOT_COMPARABLE = "not comparable"


class Difference(msgspec.Struct, frozen=True):
    """One row that differs.

    ``key`` holds the entities by name, or the key's bytes in hexadecimal under "" where they are no key of the table.
    ``online`` and ``offline`` hold the event time and the features of what is there and of what should be, None where
    there is nothing or it cannot be read. ``reason`` says in words what is wrong.
    """

    kind: Kind
    key: dict[str, Any]
    online: dict[str, Any] | None
    offline: dict[str, Any] | None
    reason: str


class TableReport(msgspec.Struct, frozen=True):
    """One table. ``compared`` counts the keys that were looked at, ``differences`` those that differ, by kind.

    Not differences are: ``waiting`` keys, which were ingested and never meant to be online yet; ``expired`` ones, which
    are past max age and may be forgotten; ``online_only`` rows, which were written to the online store alone; and
    ``moving`` keys, which were written so often that no two looks saw the same.
    ``behind`` is how many commits the last incremental materialisation has not seen. ``fixed`` counts differences that
    were mended. ``note`` says why a table was not compared.
    """

    project: str
    table: str
    state: State
    compared: int = 0
    differences: dict[Kind, int] = {}
    waiting: int = 0
    expired: int = 0
    online_only: int = 0
    moving: int = 0
    behind: int = 0
    fixed: int = 0
    sampled: bool = False
    examples: tuple[Difference, ...] = ()
    note: str = ""

    @property
    def found(self) -> int:
        """How many keys differ."""
        return sum(self.differences.values())


class ConsistencyReport(msgspec.Struct, frozen=True):
    """What a verification found, table by table."""

    tables: tuple[TableReport, ...]

    @property
    def is_consistent(self) -> bool:
        """Whether no key differs."""
        return self.found == 0

    @property
    def found(self) -> int:
        """How many keys differ."""
        return sum(table.found for table in self.tables)

    @property
    def missing(self) -> int:
        """Keys that should be online and are not."""
        return self._count(Kind.MISSING)

    @property
    def stale(self) -> int:
        """Keys with an older row online."""
        return self._count(Kind.STALE)

    @property
    def different(self) -> int:
        """Keys with other bytes online."""
        return self._count(Kind.DIFFERENT)

    @property
    def orphaned(self) -> int:
        """Keys that the history does not have."""
        return self._count(Kind.ORPHANED)

    @property
    def examples(self) -> tuple[Difference, ...]:
        """Examples of every table."""
        return tuple(example for table in self.tables for example in table.examples)

    def _count(self, kind: Kind) -> int:
        return sum(table.differences.get(kind, 0) for table in self.tables)
