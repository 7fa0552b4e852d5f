"""Join: a plan's tables matched with the rows of an entity source, in memory or bucket by bucket on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from tiffin.control import Control
from tiffin.definitions.schema import CREATED_TS, DELETED, Selection
from tiffin.offline import budget, lake
from tiffin.offline.asof import INSTANT_COLUMN, winners
from tiffin.offline.buckets import Buckets, bucket_of
from tiffin.offline.columns import INSTANT
from tiffin.offline.look import FileRows, Rows, SpilledRows
from tiffin.offline.plan import RetrievalPlan
from tiffin.offline.source import History, check_unchanged, file_source, open_history
from tiffin.types import polars_type

#: A table of at most this size is read whole by one look; above, memory is worth more than the time of a second one.
ONE_LOOK_BYTES: Final = 32_000_000
_SLOT: Final = "$slot"


class Part:
    """One table's part in a plan: its files as they were when the join began, and what is asked of them."""

    def __init__(self, selection: Selection, plan: RetrievalPlan, span: tuple[int | None, int | None]) -> None:
        self.selection = selection
        self.table = selection.table
        self.keys = self.table.key_names
        features = list(dict.fromkeys(selection.features))
        self.names = [column.name for column in features]
        self._by_row = plan.known_at == "row"
        instant = plan.known_at if isinstance(plan.known_at, int) else None
        self._snapshot = lake.snapshot(file_source(self.table), known_at=instant)
        low, high = span
        self._low = None if low is None or not self.table.max_age else low - self.table.max_age
        self._high = high
        self.history = open_history(self.table, features, self._snapshot, low=self._low, high=high)
        self._conditions = [] if instant is None else [pl.col(CREATED_TS) <= pl.lit(instant).cast(INSTANT)]

    @property
    def narrow(self) -> list[str]:
        """What finding winners reads, beside the numbers of rows."""
        created = [CREATED_TS] if self._by_row else []  # which no file here may hold, so that no row was known
        deleted = [DELETED] if self.table.deleted_column else []
        return list(dict.fromkeys([*self.keys, *self.history.rank, *created, *deleted]))

    @property
    def types(self) -> list[pl.DataType]:
        """The types of the features."""
        return [polars_type(column.dtype) for column in self.history.features]

    @property
    def narrow_bytes(self) -> int:
        """What finding winners may hold at once."""
        row = budget.width(polars_type(key.dtype) for key in self.table.keys) + 8 * len(self.history.rank) + 6
        return self.history.rows * row * budget.COPIES

    @cached_property
    def held_bytes(self) -> int:
        """What one look at the files holds: nothing where it is not worth its memory, and there are two."""
        if _size_on_disk(self.history) > ONE_LOOK_BYTES:
            return 0  # without counting the rows of many files
        row = budget.width([*self.types, *(polars_type(key.dtype) for key in self.table.keys)])
        whole = self.history.rows * (row + 8 * len(self.history.rank))
        return whole if whole <= ONE_LOOK_BYTES else 0

    def looked_at(self, keys: pl.DataFrame) -> Rows:
        """The rows of ``keys`` that may win, in memory already where the table is small."""
        rows = self.rows(keys)
        return rows.held([*self.narrow, *self.names]) if self.held_bytes else rows

    def rows(self, keys: pl.DataFrame | None = None) -> FileRows:
        """The rows that may win, of ``keys`` alone if given."""
        return FileRows(self.history, low=self._low, high=self._high, conditions=self._conditions, keys=keys)

    def answer(self, rows: Rows, asked: pl.DataFrame) -> pl.DataFrame:
        """The winner's features for each row of ``asked``, under their names in the answer; null without a winner."""
        match = winners(
            asked.select(*self.keys, INSTANT_COLUMN),
            rows.narrow(self.narrow),
            self.keys,
            rows.rank,
            max_age=self.table.max_age,
            known_by_row=self._by_row,
        )
        values = rows.gather(match, self.names)
        named = zip(self.selection.features, self.selection.output, strict=True)
        return values.select(pl.col(column.name).alias(name) for column, name in named)

    def check(self) -> None:
        """Raise StorageError where files were replaced under way."""
        check_unchanged(self.table, self._snapshot)


def parts_of(plan: RetrievalPlan, entities: pl.LazyFrame) -> list[Part]:
    """The parts of a plan, all checked against their sources before any is read."""
    instants = pl.col(plan.timestamp_column).to_physical()
    low, high = entities.select(instants.min().alias("low"), instants.max().alias("high")).collect().row(0)
    return [Part(selection, plan, (low, high)) for selection in plan.selections]


def in_memory(plan: RetrievalPlan, parts: Sequence[Part], entities: pl.LazyFrame, control: Control) -> pl.DataFrame:
    """The whole answer at once."""
    rows = entities.collect()
    asked = _asked(plan, rows)
    keys: dict[tuple[str, ...], pl.DataFrame] = {}
    answers: dict[str, pl.Series] = {}
    for part in parts:
        control.check()
        if part.keys not in keys:
            keys[part.keys] = asked.drop_nulls(INSTANT_COLUMN).select(part.keys).drop_nulls().unique()
        answer = part.answer(part.looked_at(keys[part.keys]), asked)
        answers.update((column.name, column) for column in answer)
        part.check()
    return rows.hstack([answers[name] for name in plan.columns])


def bytes_in_memory(plan: RetrievalPlan, parts: Sequence[Part], entities: pl.LazyFrame) -> int:
    """What :func:`in_memory` may hold at once, roughly."""
    height = entities.select(pl.len()).collect().item()
    asked = budget.width(polars_type(dtype) for dtype in plan.keys.values()) + 24
    return int(
        height * (asked * budget.COPIES + _answer_bytes(parts, entities))
        + max(p.narrow_bytes + p.held_bytes for p in parts)
    )


def on_disk(
    plan: RetrievalPlan, parts: Sequence[Part], entities: pl.LazyFrame, control: Control, memory_budget: int
) -> Iterator[pl.DataFrame]:
    """The answer in pieces, in the order of the entity source, inside a budget.

    Both sides are set aside by the hash of their keys; each bucket is joined by itself, and its answers are set aside
    by their place in the entity source. A single key whose history exceeds the budget is not divided.
    """
    share = budget.share_of(memory_budget)
    height = entities.select(pl.len()).collect().item()
    step = budget.rows_within(share, 2 * _answer_bytes(parts, entities))
    with tempfile.TemporaryDirectory(prefix="tiffin-join-") as folder:
        spool = _Spool(Path(folder), plan, step, share)
        answers = []
        for number, part in enumerate(parts):
            answers.append(spool.joined(number, part, entities, height, control))
            part.check()
        for index in range(max(1, -(-height // step))):
            control.check()
            rows = entities.slice(index * step, step).collect()
            held = [answer.scan(index).collect().sort(_SLOT).drop(_SLOT) for answer in answers]
            columns = {column.name: column for frame in held for column in frame}
            yield rows.hstack([columns[name] for name in plan.columns])


class _Spool:
    """The temporary folder of one join."""

    def __init__(self, folder: Path, plan: RetrievalPlan, step: int, share: int) -> None:
        self._folder = folder
        self._plan = plan
        self._step = step
        self._share = share

    def joined(self, number: int, part: Part, entities: pl.LazyFrame, height: int, control: Control) -> Buckets:
        """One table's answers, set aside by ranges of places in the entity source."""
        folder = self._folder / str(number)
        asked_bytes = height * (budget.width(polars_type(key.dtype) for key in part.table.keys) + 24) * budget.COPIES
        count = budget.buckets_within(self._share, part.narrow_bytes + asked_bytes)
        asked = Buckets(folder / "asked", count, self._share // 2)
        for start in range(0, max(height, 1), self._step):
            control.check()
            rows = _asked(self._plan, entities.slice(start, self._step).collect())
            rows = rows.select(*part.keys, INSTANT_COLUMN).with_row_index(_SLOT, offset=start)
            asked.add(rows, bucket_of(part.keys, count))
        asked.flush()
        history = self._history(folder / "history", part, count, control)
        answers = Buckets(folder / "answers", -(-height // self._step), self._share // 2)
        for bucket in range(count):
            control.check()
            rows = asked.scan(bucket).collect()
            answer = part.answer(SpilledRows(history.scan(bucket), part.history.rank), rows)
            answers.add(answer.with_columns(rows[_SLOT]), pl.col(_SLOT) // self._step)
            history.drop(bucket)
            asked.drop(bucket)
        answers.flush()
        return answers

    def _history(self, folder: Path, part: Part, count: int, control: Control) -> Buckets:
        history = Buckets(folder, count, self._share // 2)
        names = list(dict.fromkeys([*part.narrow, *part.names]))
        row = budget.width([*part.types, *(polars_type(key.dtype) for key in part.table.keys)]) + 40
        for piece in part.rows().pieces(budget.rows_within(self._share, 3 * row), names):
            control.check()
            history.add(piece, bucket_of(part.keys, count))
        history.flush()
        return history


def _size_on_disk(history: History) -> int:
    """The bytes of a history's files, compressed as they are."""
    return sum(file.size for run in history.runs for file in run.files)


def _asked(plan: RetrievalPlan, rows: pl.DataFrame) -> pl.DataFrame:
    """Keys and instants alone."""
    return rows.select(*plan.keys, pl.col(plan.timestamp_column).to_physical().alias(INSTANT_COLUMN))


def _answer_bytes(parts: Sequence[Part], entities: pl.LazyFrame) -> int:
    """The bytes of one row of the answer."""
    return budget.width(entities.collect_schema().dtypes()) + sum(budget.width(part.types) for part in parts)
