"""What a plan reads from one table: keys of coerced columns, and stored values to columns with their statuses.

Nothing here asks a store on its own: a value whose layout was not met before raises :class:`Unlearned`, and whoever
reads decides when :meth:`TableRead.learn` may ask for the layouts.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from tiffin.definitions.schema import Selection
from tiffin.errors import CorruptData
from tiffin.online.base import RANK_BYTES, OnlineStore, TableId
from tiffin.online.decode import Decoder
from tiffin.online.keys import KeyEncoder
from tiffin.online.layout import HEADER_END, TOMBSTONE, Layout, layout_number
from tiffin.types import ValueType


class Status(enum.StrEnum):
    """What is known of one feature of one row."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


Answer = tuple[list[Sequence[Any]], list[Sequence[Status]], list[Sequence[int | None]]]
"""Values, statuses and event times, a column a feature each."""


class Unlearned(LookupError):
    """A value has a layout that is not known yet; ``problem`` is what to raise where learning did not help."""

    def __init__(self, problem: CorruptData) -> None:
        super().__init__(str(problem))
        self.problem = problem


class TableRead:
    """What a plan reads from one table. ``keys`` are the positions of its entities among the plan's."""

    def __init__(self, selection: Selection, keys: list[tuple[str, ValueType]]) -> None:
        table = selection.table
        encoder = KeyEncoder(table.keys)
        types = {column.name: column.dtype for column in table.keys}
        self.keys = [keys.index((name, types[name])) for name in encoder.names]
        self.label = table.label()
        self.id = TableId(table.project, table.name)
        #: The key of every row of coerced columns, None where one of its entities is null.
        self.encode = encoder.encode
        #: The key of one value that is not null, where the table has one entity.
        self.encode_one = encoder.one
        self._features = selection.features
        self._max_age = table.max_age or None
        self._layouts: list[bytes] = []
        # By header, so that one look-up tells format, flags and layout; None for a tombstone.
        self._decoders: dict[bytes, Decoder | None] = {}

    def learn(self, store: OnlineStore) -> None:
        """Ask the store for the table's layouts as they are now."""
        self._layouts = store.layouts(self.id)

    def answer(self, values: Sequence[bytes | None], now: int | Sequence[int], count: int) -> Answer:
        """The answer from the stored values of ``count`` rows, None for those without one.

        Unlearned where a value's layout is not known; CorruptData where a value cannot be read.
        """
        if count == 1:
            value = values[0]
            decoder = None if value is None else self._decoder(value[RANK_BYTES:HEADER_END])
            return _none(len(self._features)) if decoder is None else self._answer(decoder, values, now)  # type: ignore[arg-type]  # it is no None
        heads = [value and value[RANK_BYTES:HEADER_END] for value in values]
        head = heads[0] if count else None
        if head is not None and heads.count(head) == count:
            decoder = self._decoder(head)
            if decoder is not None:
                return self._answer(decoder, values, now)  # type: ignore[arg-type]  # every value has a head
        return self._scattered(heads, values, now, count)

    def row(self, value: bytes, now: int) -> tuple[int, tuple[Any, ...]] | None:
        """Event time and values of one row where all of them are scalars and PRESENT; None where they are not.

        None, too, for a layout that was not met before: :meth:`answer` then knows what to do.
        """
        decoder = self._decoders.get(value[RANK_BYTES:HEADER_END])
        found = None if decoder is None else decoder.row(value)
        if found is not None and self._max_age is not None and now - found[0] > self._max_age:
            return None
        return found

    def _decoder(self, head: bytes) -> Decoder | None:
        try:
            return self._decoders[head]
        except KeyError:
            decoder = self._decoders[head] = self._compile(head)
            return decoder

    def _compile(self, head: bytes) -> Decoder | None:
        """The decoder for a header that was not met before."""
        number = layout_number(head)
        if head[1] & TOMBSTONE:
            return None
        if number >= len(self._layouts):
            problem = f"A row of {self.label} has layout {number}, the online store knows {len(self._layouts)}."
            raise Unlearned(CorruptData(problem, hint="Materialize the table again."))
        return Decoder(Layout.from_bytes(self._layouts[number]), self._features)

    def _answer(self, decoder: Decoder, values: Sequence[bytes], now: int | Sequence[int]) -> Answer:
        """The answer from values of one layout, none of them missing."""
        events, columns, nulls = decoder.columns(values)
        count = len(events)
        present = [Status.PRESENT] * count
        expired = self._expired(events, now)
        if nulls is None and not expired and decoder.complete:
            width = len(columns)
            return columns, [present] * width, [events] * width  # type: ignore[return-value]  # complete: none is None
        answer: Answer = [], [], []
        for position, column in enumerate(columns):
            shown, statuses, times = _nothing(count)
            if column is not None:
                shown, statuses = _marked(column, present, nulls[position] if nulls else [], expired)
                times = events
            answer[0].append(shown)
            answer[1].append(statuses)
            answer[2].append(times)
        return answer

    def _expired(self, events: list[int], now: int | Sequence[int]) -> list[int]:
        """The rows whose age is more than the table's max age; an age of exactly that is not."""
        if self._max_age is None:
            return []
        if isinstance(now, int):
            oldest = now - self._max_age
            return [row for row, event in enumerate(events) if event < oldest] if min(events) < oldest else []
        return [row for row, event in enumerate(events) if now[row] - event > self._max_age]

    def _scattered(
        self, heads: Sequence[bytes | None], values: Sequence[bytes | None], now: int | Sequence[int], count: int
    ) -> Answer:
        """The answer where rows are missing, deleted, or of several layouts: each group's, put into its rows."""
        groups: dict[bytes, list[int]] = {}
        for row, head in enumerate(heads):
            if head is not None:
                groups.setdefault(head, []).append(row)
        merged: list[list[list[Any]]] = [[list(part) for _ in self._features] for part in _nothing(count)]
        for head, rows in groups.items():
            decoder = self._decoder(head)
            if decoder is None:
                continue
            nows = now if isinstance(now, int) else [now[row] for row in rows]
            group: list[bytes] = [values[row] for row in rows]  # type: ignore[misc]  # rows with a head have a value
            parts: tuple[list[Sequence[Any]], ...] = self._answer(decoder, group, nows)
            for target, part in zip(merged, parts, strict=True):
                for into, column in zip(target, part, strict=True):
                    for row, item in zip(rows, column, strict=True):
                        into[row] = item
        return tuple(merged)  # type: ignore[return-value]  # the three of _nothing


def _marked(
    column: Sequence[Any], present: list[Status], nulls: list[int], expired: list[int]
) -> tuple[Sequence[Any], Sequence[Status]]:
    """A column and its statuses, where nulls are None already and expired rows become so."""
    if not nulls and not expired:
        return column, present
    statuses = present.copy()
    for row in nulls:
        statuses[row] = Status.NULL_VALUE
    if not expired:
        return column, statuses
    shown = list(column)
    for row in expired:
        statuses[row] = Status.OUTSIDE_MAX_AGE
        shown[row] = None
    return shown, statuses


def _none(width: int) -> Answer:
    """The answer for one row that is not there."""
    shown, statuses, times = _nothing(1)
    return [shown] * width, [statuses] * width, [times] * width


def _nothing(count: int) -> tuple[Sequence[Any], Sequence[Status], Sequence[int | None]]:
    missing = [None] * count
    return missing, [Status.NOT_FOUND] * count, missing
