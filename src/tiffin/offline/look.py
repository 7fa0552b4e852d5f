"""Rows that are looked at twice: once for what finds the winners, once for what the winners hold.

The first look reads keys, times and ranks of all rows, the second the features of a few. What needs memory therefore
does not grow with the width of a table. Where the whole is small, one look that holds everything is cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import polars as pl

from tiffin.offline.runs import AT
from tiffin.offline.source import History


class Rows(Protocol):
    """Rows of one table: of all its files, or of one bucket."""

    @property
    def rank(self) -> tuple[str, ...]:
        """The columns that rank rows, most significant first."""
        ...

    def narrow(self, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of all rows and their numbers, in AT, in the order of path and row number."""
        ...

    def fetch(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with these ascending numbers, in their order, with the numbers in AT."""
        ...

    def batches(self, numbers: pl.Series, names: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        """As :meth:`fetch`, in batches of about ``size`` rows, of which one may be empty, by one look at the rows."""
        ...

    def gather(self, match: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with the numbers ``match``, one for one; null where that is null."""
        ...


class FileRows:
    """The rows of a history's files with events from ``low`` to ``high`` that satisfy ``conditions``.

    ``keys``, where given, are the only keys that count: the key columns without nulls, each key once.
    """

    def __init__(
        self,
        history: History,
        *,
        low: int | None = None,
        high: int | None = None,
        conditions: Sequence[pl.Expr] = (),
        keys: pl.DataFrame | None = None,
    ) -> None:
        self.history = history
        self._low, self._high = low, high
        self._conditions = tuple(conditions)
        self._keys = keys

    @property
    def rank(self) -> tuple[str, ...]:
        return self.history.rank

    def narrow(self, names: Sequence[str]) -> pl.DataFrame:
        frame = self.history.scan(low=self._low, high=self._high, positions=True)
        with self.history.collecting():
            return self._kept(frame).select(AT, *names).collect()

    def fetch(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        with self.history.collecting():
            return self.history.fetch(numbers, names).collect()

    def batches(self, numbers: pl.Series, names: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        with self.history.collecting():
            yield from self.history.fetch(numbers, names).collect_batches(chunk_size=size, maintain_order=True)

    def gather(self, match: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        return _gathered(self, match, names)

    def held(self, names: Sequence[str]) -> HeldRows:
        """The columns ``names`` of all rows in memory, by one look at the files."""
        frame = self.history.scan(low=self._low, high=self._high)
        with self.history.collecting():
            return HeldRows(self._kept(frame).select(list(dict.fromkeys(names))).collect(), self.rank)

    def pieces(self, rows: int, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """As :meth:`narrow`, in pieces of at most ``rows`` rows, of which there is at least one."""
        nothing = self.history.scan(positions=True).head(0)
        for piece in chain([nothing], self.history.pieces(rows, low=self._low, high=self._high)):
            with self.history.collecting():
                yield self._kept(piece).select(AT, *names).collect()

    def _kept(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        frame = frame.filter(*self._conditions) if self._conditions else frame
        if self._keys is None:
            return frame
        if self._keys.is_empty():
            return frame.head(0)
        within = [_within(key) for key in self._keys if key.dtype.is_integer()]
        return frame.filter(*within).join(self._keys.lazy(), on=self._keys.columns, how="semi", maintain_order="left")


class SpilledRows:
    """The rows of one bucket, in files that were written for it."""

    def __init__(self, frame: pl.LazyFrame, rank: tuple[str, ...]) -> None:
        self._frame = frame
        self.rank = rank

    def narrow(self, names: Sequence[str]) -> pl.DataFrame:
        return self._frame.select(AT, *names).collect()

    def fetch(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        wanted = numbers.alias(AT).to_frame().lazy()
        return self._frame.select(AT, *names).join(wanted, on=AT, how="semi", maintain_order="left").collect()

    def batches(self, numbers: pl.Series, names: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        return self.fetch(numbers, names).iter_slices(size)

    def gather(self, match: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        return _gathered(self, match, names)


class HeldRows:
    """Rows that one look brought into memory, numbered by their places in ``frame``."""

    def __init__(self, frame: pl.DataFrame, rank: tuple[str, ...]) -> None:
        self._frame = frame
        self.rank = rank

    def narrow(self, names: Sequence[str]) -> pl.DataFrame:
        return self._frame.select(names).with_row_index(AT)

    def fetch(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        return self.gather(numbers, names).insert_column(0, numbers.alias(AT))

    def batches(self, numbers: pl.Series, names: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        return self.fetch(numbers, names).iter_slices(size)

    def gather(self, match: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        return self._frame.select(pl.col(names).gather(match))


def _gathered(rows: Rows, match: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """What :meth:`Rows.gather` asks for, by a second look."""
    numbers = match.drop_nulls().unique().sort()
    held = rows.fetch(numbers, names)
    places = held[AT].search_sorted(match.fill_null(0), side="left")
    index = pl.DataFrame({"place": places, "match": match}).select(pl.when(pl.col("match").is_not_null()).then("place"))
    return held.select(pl.col(names).gather(index.to_series()))


def _within(key: pl.Series) -> pl.Expr:
    """A range that all keys lie in: what statistics of row groups can use."""
    return pl.col(key.name).is_between(pl.lit(key.min(), key.dtype), pl.lit(key.max(), key.dtype))
