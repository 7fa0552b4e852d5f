"""Validation: rows as a caller gave them become the rows that are stored, or are refused (semantics, section 5).

Stored are the declared columns under the names of the source: times, keys, features, the mark of deletions, and the
columns that expressions of the field mapping read. Everything else is dropped. Columns mapped by their bare name are
stored in the declared type, so that what is on disk is what will be read; expressions are evaluated here only to see
that their results fit. A batch may lack the column that marks deletions: then it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import polars as pl

from tiffin import clock
from tiffin.coerce import coercion
from tiffin.definitions.expectation import UniqueKeyAndTime
from tiffin.definitions.schema import INGESTED_AT_COLUMN, ROW_COLUMN, Column, TableSchema
from tiffin.errors import InvalidData
from tiffin.ingest.columns import check_columns
from tiffin.ingest.expect import failing
from tiffin.ingest.text import Given, Writing, parsing
from tiffin.offline.layout import INSTANT, stored_type
from tiffin.offline.mapping import bad_mapping, columns_read, is_bare, result_type, value_of
from tiffin.types import ValueType, polars_type

#: The column of a dead letter that says why the row was refused; ROW_COLUMN says where it stood in the batch.
REASON: Final = "_reason"
#: How many refused rows an error carries.
SHOWN: Final = 10
#: How many characters of a value it shows.
WORDS: Final = 200

#: Times lie in the years 1 to 9999: what every reader of the files can show.
_EARLIEST: Final = -62_135_596_800_000_000
_LATEST: Final = 253_402_300_799_999_999


class Checked(NamedTuple):
    """The rows of one frame, sorted.

    ``good`` rows have stored columns, ``bad`` ones those that were given, REASON and ROW_COLUMN; ``rejected`` tells of
    the first of these. ``passed`` marks the good ones among the given, None where all are. ``failed`` counts rows by
    the label of each check that they failed; a row may fail several.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    rejected: list[dict[str, Any]]
    passed: pl.Series | None = None
    failed: Mapping[str, int] = {}


class Check(NamedTuple):
    """A condition that refuses rows: the column it is about, which rows, why, and what counters call it.

    ``value`` is the declared value that it judges, where that is made from stored columns.
    """

    column: str
    failed: pl.Expr
    reason: str
    label: str
    value: pl.Expr | None = None


class Validator:
    """Checks the frames of one batch against one table.

    ``keep`` names further columns that the target stores. Event times after ``latest`` (UTC microseconds) are invalid.
    """

    def __init__(self, table: TableSchema, *, keep: Iterable[str] = (), latest: int | None = None) -> None:
        self.table = table
        self._keep = tuple(keep)
        self._latest = latest
        self._plans: dict[object, _Plan] = {}
        types = {column.name: column.dtype for column in self._columns}
        for expectation in table.expectations:
            for name in expectation.columns():
                failing(expectation, pl.col(name), types[name])

    @property
    def unique(self) -> bool:
        """Whether no two rows of the batch may have the same key and event time."""
        return any(isinstance(expectation, UniqueKeyAndTime) for expectation in self.table.expectations)

    @property
    def declared(self) -> frozenset[str]:
        """The stored columns whose types are declared."""
        times = (self.table.event_column, self.table.created_column, self.table.deleted_column)
        return frozenset({c.expression for c in self._columns} | {name for name in times if name})

    @property
    def indexed(self) -> tuple[str, ...]:
        """The stored columns that are looked rows up by."""
        keys = (column.expression for column in self.table.keys)
        return tuple(dict.fromkeys((*keys, self.table.event_column, self.table.created_column)))

    def check(self, given: Given, first_row: int) -> Checked:
        """Sort the rows of a frame, whose first is row ``first_row`` of the batch, into good and bad ones.

        InvalidData where a declared column is missing or has a type that cannot be stored; InvalidDefinition where a
        mapping is no expression over the given columns.
        """
        frame = given.frame
        key = (tuple(frame.schema.items()), tuple(given.texts.items()))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Planner(
                self.table, dict(frame.schema), given.texts, self._keep, self._latest
            ).plan()
        flags = [check.failed.fill_null(value=False).alias(f"${n}") for n, check in enumerate(plan.given)]
        found = frame.select(*plan.stored, *flags)
        stored = found.drop([f"${n}" for n in range(len(flags))])
        failures = [found[f"${n}"] for n in range(len(flags))] + self._derived(plan, stored)
        failed = [(c, mask) for c, mask in zip(plan.given + plan.derived, failures, strict=True) if mask.any()]
        if not failed:
            return Checked(stored, _bad_rows(frame.clear(), [], first_row), [])
        bad = pl.select(pl.any_horizontal([mask for _, mask in failed])).to_series()
        counts: dict[str, int] = {}
        for check, mask in failed:
            counts[check.label] = counts.get(check.label, 0) + int(mask.sum())
        rejected = _told(frame, stored, failed, bad, first_row)
        return Checked(stored.filter(~bad), _bad_rows(frame, failed, first_row), rejected, ~bad, counts)

    def identity(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Keys and event time of stored rows, as UniqueKeyAndTime compares them."""
        keys = [value_of(self.table, c, stored.columns).alias(f"$key{n}") for n, c in enumerate(self.table.keys)]
        return stored.select(*keys, pl.col(self.table.event_column).alias("$event"))

    @property
    def _columns(self) -> tuple[Column, ...]:
        return (*self.table.keys, *self.table.features)

    def _derived(self, plan: _Plan, stored: pl.DataFrame) -> list[pl.Series]:
        if not plan.derived:
            return []
        flags = [check.failed.fill_null(value=False).alias(f"${n}") for n, check in enumerate(plan.derived)]
        try:
            found = stored.lazy().with_columns(plan.values).select(flags).collect()
        except pl.exceptions.PolarsError as error:
            names = [column.name for column in self._columns if not is_bare(column, stored.columns)]
            raise bad_mapping(self.table, ", ".join(names), error) from error
        return found.get_columns()


class _Plan(NamedTuple):
    """What to do with frames of one schema.

    ``stored`` columns are made from the given ones and ``given`` checks look at these; ``values`` are declared values
    made from stored columns, which the ``derived`` checks look at.
    """

    stored: list[pl.Expr]
    given: list[Check]
    values: list[pl.Expr]
    derived: list[Check]


class _Planner:
    """Makes the plan for frames with columns of given types."""

    def __init__(
        self,
        table: TableSchema,
        types: Mapping[str, pl.DataType],
        texts: Mapping[str, Writing],
        keep: Iterable[str],
        latest: int | None,
    ) -> None:
        check_columns(table, set(types))
        self._table = table
        self._types = types
        self._texts = texts
        self._latest = latest
        self._keep = [name for name in keep if name in types and name != table.partition_column]
        self._stored: dict[str, tuple[pl.Expr, pl.DataType]] = {}
        self._given: list[Check] = []
        self._values: list[pl.Expr] = []
        self._derived: list[Check] = []

    def plan(self) -> _Plan:
        """The whole plan."""
        self._times()
        columns = [*self._table.keys, *self._table.features]
        for column in columns:
            if is_bare(column, self._types):
                self._bare(column, [c for c in columns if c.expression == column.expression])
        for column in columns:
            for name in columns_read(self._table, column, self._types):
                self._raw(name)
        for name in self._keep:
            self._raw(name)
        for n, column in enumerate(columns):
            self._value(n, column)
        # In the order of the source, so that files look like what was given.
        stored = [self._stored[name][0].alias(name) for name in self._types if name in self._stored]
        return _Plan(stored, self._given, self._values, self._derived)

    def _times(self) -> None:
        table = self._table
        for name, words in ((table.event_column, "event time"), (table.created_column, "creation time")):
            if not name:
                continue
            value = self._coerced(name, ValueType.UNIX_TIMESTAMP)
            outside = ~value.to_physical().is_between(_EARLIEST, _LATEST)
            self._given.append(Check(name, outside, f"the {words} is not in the years 1 to 9999", f"years_{name}"))
            if name == table.event_column:
                self._given.append(Check(name, pl.col(name).is_null(), f"the {words} is null", f"not_null_{name}"))
                if self._latest is not None:
                    future = f"the event time lies in the future, after {clock.to_iso(self._latest)}"
                    self._given.append(Check(name, value.to_physical() > self._latest, future, f"future_{name}"))
            self._store(name, value, INSTANT)
        if table.deleted_column in self._types:
            mark = self._coerced(table.deleted_column, ValueType.BOOL).fill_null(value=False)
            self._store(table.deleted_column, mark, pl.Boolean())

    def _bare(self, column: Column, alike: list[Column]) -> None:
        """A key or feature that is a column of the source; declared in several types it is stored as it is given."""
        value = self._coerced(column.expression, column.dtype)
        if column in self._table.keys:
            null = pl.col(column.expression).is_null()
            reason = f"the key {column.name!r} is null"
            self._given.append(Check(column.expression, null, reason, f"not_null_{column.name}"))
        if all(other.dtype is column.dtype for other in alike):
            self._store(column.expression, value, polars_type(column.dtype))

    def _raw(self, name: str) -> None:
        """A column that is stored as it is given: read by an expression, or needed by the target."""
        if name in self._stored or name in (INGESTED_AT_COLUMN, ROW_COLUMN):
            return
        found = self._types[name]
        dtype = found if isinstance(found, pl.Null) else stored_type(found)
        if dtype is None:
            raise InvalidData(
                f"Column {name!r} of the data for {self._table.label()} is of type {found}, which cannot be stored.",
                field=name,
                hint="Convert it to a number, text or timestamp first.",
            )
        value = pl.col(name)
        if isinstance(found, pl.Datetime):
            value = coercion(value, found, ValueType.UNIX_TIMESTAMP).value
        self._store(name, value if dtype == found else value.cast(dtype), dtype)

    def _value(self, n: int, column: Column) -> None:
        """The checks that need the declared value: the result of an expression, and expectations."""
        expectations = [e for e in self._table.expectations if column.name in e.columns()]
        types = {name: dtype for name, (_, dtype) in self._stored.items()}
        bare = is_bare(column, self._types)
        if bare and not expectations:
            return
        raw = value_of(self._table, column, self._types)
        found = types[column.expression] if bare else result_type(self._table, column, raw, types)
        how = coercion(raw, found, column.dtype)
        value = pl.col(f"$value{n}")
        self._values.append(how.value.alias(f"$value{n}"))
        if not bare and how.failed is not None:
            reason = f"{column.expression!r}: {how.reason}"
            self._derived.append(Check(column.name, how.failed, reason, f"type_{column.name}", raw))
        if not bare and column in self._table.keys:
            reason = f"the key {column.name!r} is null"
            self._derived.append(Check(column.name, raw.is_null(), reason, f"not_null_{column.name}", raw))
        for expectation in expectations:
            judged = failing(expectation, value, column.dtype)
            assert judged is not None, "an expectation on a column judges single rows"
            failed, reason = judged
            if self._table.deleted_column in self._stored:
                failed = failed & ~pl.col(self._table.deleted_column)  # a deletion has no values to judge
            self._derived.append(Check(column.name, failed, reason, expectation.label(), how.value))

    def _coerced(self, name: str, to: ValueType) -> pl.Expr:
        column, writing = pl.col(name), self._texts.get(name)
        how = parsing(column, writing, to) if writing else coercion(column, self._types[name], to)
        if how.failed is not None:
            self._given.append(Check(name, how.failed, how.reason, f"type_{name}"))
        return how.value

    def _store(self, name: str, value: pl.Expr, dtype: pl.DataType) -> None:
        self._stored.setdefault(name, (value, dtype))


def refusal(table: TableSchema, rejected: list[dict[str, Any]], rows: int) -> InvalidData:
    """The error for a batch of which ``rows`` or more rows are invalid; ``rejected`` tells of the first."""
    first = rejected[0]
    return InvalidData(
        f"The batch for {table.label()} is refused, since {'a row is' if rows == 1 else f'{rows} rows are'} invalid. "
        f"The first: row {first['row']}, column {first['column']!r}: {first['reason']} (it holds {first['value']}).",
        field=str(first["column"]),
        hint='Nothing was stored. Correct the rows, or pass on_invalid="quarantine" to set them aside.',
        rejected=rejected,
    )


def _bad_rows(frame: pl.DataFrame, failed: list[tuple[Check, pl.Series]], first_row: int) -> pl.DataFrame:
    """The rows as given with why they were refused, all reasons of a row joined."""
    reasons = [
        pl.when(mask).then(pl.lit(f"{check.column}: {check.reason}")).otherwise(pl.lit(None, pl.String))
        for check, mask in failed
    ]
    reason = pl.concat_str(reasons, separator="; ", ignore_nulls=True) if reasons else pl.lit("", pl.String)
    given = frame.drop([name for name in (REASON, ROW_COLUMN) if name in frame.columns])
    rows = given.with_columns(
        reason.alias(REASON), pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64).alias(ROW_COLUMN)
    )
    return rows.filter(pl.col(REASON) != "")


def _told(
    frame: pl.DataFrame, stored: pl.DataFrame, failed: list[tuple[Check, pl.Series]], bad: pl.Series, first_row: int
) -> list[dict[str, Any]]:
    """The first refused rows, each with its first reason and the value at fault."""
    told = []
    for position in bad.arg_true().head(SHOWN):
        check = next(check for check, mask in failed if mask[position])
        if check.value is None:
            value = shown(frame[check.column], position)
        else:
            value = shown(stored.slice(position, 1).select(check.value.alias("$")).to_series(), 0)
        told.append({"row": first_row + position, "column": check.column, "reason": check.reason, "value": value})
    return told


def shown(column: pl.Series, position: int) -> str:
    """One value in words, the first of them, also where Python has none for it (years beyond 9999)."""
    try:
        words = repr(column[position])
    except (ValueError, OverflowError):
        words = str(column.slice(position, 1).cast(pl.String).item())
    return words if len(words) <= WORDS else f"{words[: WORDS - 1]}…"
