"""Sift: the rows of a batch parted into those that are stored and those that are refused (semantics, section 5).

Every path of ingestion parts its rows here, so that all know the same rules, tell refused rows alike and count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import polars as pl

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.expectation import UniqueKeyAndTime
from tiffin.definitions.schema import ROW_COLUMN
from tiffin.ingest.metrics import UNMEASURED, IngestionMetrics
from tiffin.ingest.spool import Spool
from tiffin.ingest.text import Given
from tiffin.ingest.unique import repeated
from tiffin.ingest.validate import REASON, SHOWN, Validator, refusal, shown

OnInvalid = Literal["reject", "quarantine"]
#: The rows as given, carried beside the stored ones where a later look may refuse them.
_GIVEN: Final = "$given"
_REPEATED: Final = "an earlier row of the batch has the same key and event time"


class Sifted:
    """The rows of a batch. ``bad`` are as given, with REASON and ROW_COLUMN; ``first_bad`` tells of the first."""

    def __init__(self, good: Spool, bad: Spool, first_bad: list[dict[str, Any]]) -> None:
        self.bad = bad
        self.first_bad = first_bad
        self._good = good
        self.rows = good.rows
        self.columns = {name: dtype for name, dtype in good.columns.items() if name != _GIVEN}

    def frames(self) -> Iterator[pl.DataFrame]:
        """The good rows in stored columns, each frame with all of them in their one type."""
        return (frame.select(list(self.columns)) for frame in self._good.frames())


@contextmanager
def sifted(
    validator: Validator,
    frames: Iterable[Given],
    *,
    on_invalid: OnInvalid,
    staging: str,
    metrics: IngestionMetrics = UNMEASURED,
    control: Control = UNWATCHED,
) -> Iterator[Sifted]:
    """The rows of a batch while the block lasts, in bounded memory with ``staging`` as scratch folder.

    InvalidData, with the first of them, where rows are bad and ``on_invalid`` is "reject".
    """
    with Spool(staging) as good, Spool(staging) as bad, Spool(staging) as distinct:
        sieve = _Sieve(validator, on_invalid, metrics)
        for given, first_row in _numbered(frames, control):
            metrics.read(validator.table, given.frame.height)
            sieve.part(given, first_row, good, bad)
        kept = distinct if validator.unique and sieve.part_repeated(good, bad, distinct) else good
        yield Sifted(kept, bad, sieve.first_bad)


def _numbered(frames: Iterable[Given], control: Control) -> Iterator[tuple[Given, int]]:
    """Frames with the position of their first row in the batch."""
    first_row = 0
    for given in frames:
        control.check()
        yield given, first_row
        first_row += given.frame.height
        control.progress(first_row, unit="rows read")


class _Sieve:
    """Parts frames, and remembers the first bad rows."""

    def __init__(self, validator: Validator, on_invalid: OnInvalid, metrics: IngestionMetrics) -> None:
        self._validator = validator
        self._table = validator.table
        self._on_invalid = on_invalid
        self._metrics = metrics
        self.first_bad: list[dict[str, Any]] = []
        for expectation in validator.table.expectations:
            metrics.check_failed(validator.table, expectation.label(), 0)

    def part(self, given: Given, first_row: int, good: Spool, bad: Spool) -> None:
        """Put the rows of a frame where they belong."""
        checked = self._validator.check(given, first_row)
        for check, count in checked.failed.items():
            self._metrics.check_failed(self._table, check, count)
        self._refuse(checked.rejected, checked.bad.height)
        bad.add(checked.bad)
        rows = checked.good
        if self._validator.unique:
            place = pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64)
            placed = given.frame.with_columns(place.alias(ROW_COLUMN))
            rows = rows.with_columns(
                (placed if checked.passed is None else placed.filter(checked.passed)).to_struct(_GIVEN)
            )
        good.add(rows)

    def part_repeated(self, good: Spool, bad: Spool, distinct: Spool) -> bool:
        """Part rows that repeat a key and time of the batch from those that do not; whether there were any."""
        positions = repeated(lambda: (self._validator.identity(frame) for frame in good.frames()), good.rows)
        self._metrics.check_failed(self._table, UniqueKeyAndTime().label(), len(positions))
        first = 0
        for frame in good.frames() if len(positions) else ():
            twice = pl.int_range(first, first + frame.height, eager=True).is_in(positions.implode())
            first += frame.height
            given = frame.filter(twice)[_GIVEN].struct.unnest()
            self._refuse(self._told_repeated(given), len(positions))
            bad.add(given.select(pl.exclude(ROW_COLUMN), pl.lit(_REPEATED).alias(REASON), pl.col(ROW_COLUMN)))
            distinct.add(frame.filter(~twice))
        return len(positions) > 0

    def _refuse(self, told: list[dict[str, Any]], rows: int) -> None:
        if told and self._on_invalid == "reject":
            raise refusal(self._table, told, rows)
        self.first_bad = sorted(self.first_bad + told, key=lambda entry: int(entry["row"]))[:SHOWN]

    def _told_repeated(self, given: pl.DataFrame) -> list[dict[str, Any]]:
        event = self._table.event_column
        return [
            {"row": row, "column": event, "reason": _REPEATED, "value": shown(given[event], n)}
            for n, row in enumerate(given[ROW_COLUMN].head(SHOWN))
        ]
