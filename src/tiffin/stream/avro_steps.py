"""Steps: what is done to read one field of many messages. Steps of a writer's schema follow each other in its order.

Each reads from some messages, ascending, and puts what it read at slots: at the messages' own numbers, or at those
that ``slots`` has for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tiffin.stream.avro_bytes import TRUNCATED, Messages, Numbers, Slices, varints
from tiffin.stream.avro_columns import Column, ListColumn

_INT32: Final = 1 << 31
_EXACT: Final = {"double": 53, "float": 24}
_FIXED: Final = {"boolean": "u1", "float": "<f4", "double": "<f8"}


class Step(Protocol):
    """Reads one field."""

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        """Read from messages, all of which are alive; some may fail on the way."""
        ...


class Fail:
    """A value that the declared schema has no place for."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self, messages: Messages, those: Numbers, _: Numbers | None) -> None:
        messages.fail(those, self.reason)


class Nothing:
    """Null: no bytes."""

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        """Nothing is there to be read."""


class Constant:
    """What the declared schema has for a field that was not written."""

    def __init__(self, column: Column | ListColumn, value: Any) -> None:
        self._column = column
        self._value = value

    def read(self, _: Messages, those: Numbers, slots: Numbers | None) -> None:
        self._column.put_constant(_where(those, slots), self._value)


class Number:
    """A number or truth value of a kind of Avro; ``factor`` turns its unit into the column's."""

    def __init__(self, kind: str, column: Column | None, what: str, factor: int = 1) -> None:
        self.kind = kind
        self.column = column
        self.what = what
        self._factor = factor

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        values: NDArray[Any]
        if self.kind in _FIXED:
            those, values = messages.fixed(those, _FIXED[self.kind], self.what)
        else:
            those, values = messages.whole(those, self.what)
        self.put(messages, those, _where(those, slots), values)

    def put(self, messages: Messages, those: Numbers, slots: Numbers, values: NDArray[Any]) -> None:
        """Put values of messages at slots, but for those that are none of their kind or of the column's."""
        wrong, reason = self._wrong(values)
        if wrong is not None and wrong.any():
            messages.fail(np.unique(those[wrong]), f"{self.what} {reason}")
            slots, values = slots[~wrong], values[~wrong]
        if self.column is not None:
            self.column.put(slots, values * self._factor if self._factor != 1 else values)

    def _wrong(self, values: NDArray[Any]) -> tuple[NDArray[np.bool_] | None, str]:
        if self.kind == "boolean":
            return values > 1, "is neither true nor false"
        if self.kind == "int":
            if self.column is not None and self.column.kind == "float":
                return _inexact(values, 24) | (np.abs(values) >= _INT32), "is not exact as a float"
            return (values < -_INT32) | (values >= _INT32), "is a number of more than 32 bits"
        if self.kind == "long" and self.column is not None:
            if self._factor != 1:
                most = (2**63 - 1) // self._factor
                return (values < -most) | (values > most), "is a time beyond what its unit can hold"
            if self.column.kind in _EXACT:
                return _inexact(values, _EXACT[self.column.kind]), "is not exact as a float"
        return None, ""


class Blob:
    """Bytes or text, of ``size`` bytes or with their length before them."""

    def __init__(self, column: Column | None, what: str, size: int | None = None) -> None:
        self.column = column
        self.what = what
        self.size = size

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        if self.size is None:
            found = messages.blob(those, self.what)
        else:
            found = messages.slices(those, np.full(len(those), self.size, np.int64), self.what)
        if self.column is not None:
            self.column.put_slices(_where(found.messages, slots), found)


class Symbol:
    """One of some symbols; ``numbers`` has the number in the column of each, below 0 for those without one."""

    def __init__(self, column: Column | None, what: str, numbers: Sequence[int], symbols: Sequence[str]) -> None:
        self._column = column
        self._what = what
        self._numbers = np.array(numbers, np.int64)
        self._symbols = symbols

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        those, found = messages.whole(those, self._what)
        outside = (found < 0) | (found >= len(self._numbers))
        if outside.any():
            messages.fail(those[outside], f"{self._what} is a symbol that its schema does not have")
            those, found = those[~outside], found[~outside]
        if self._column is None:
            return
        numbers = self._numbers[found]
        unknown = numbers < 0
        if unknown.any():
            word = self._symbols[int(found[unknown][0])]
            messages.fail(those[unknown], f"{self._what} is a symbol that is not declared, such as {word!r}")
            those, numbers = those[~unknown], numbers[~unknown]
        self._column.put(_where(those, slots), numbers)


class Choice:
    """A union: the number of a branch, and its value."""

    def __init__(self, branches: Sequence[Step], what: str) -> None:
        self._branches = branches
        self._what = what

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        those, found = messages.whole(those, self._what)
        outside = (found < 0) | (found >= len(self._branches))
        if outside.any():
            messages.fail(those[outside], f"{self._what} is of a branch that its union does not have")
            those, found = those[~outside], found[~outside]
        for number, branch in enumerate(self._branches):
            chosen = those[found == number]
            if len(chosen):
                branch.read(messages, chosen, slots)


class InOrder:
    """The fields of a record, one after the other."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        for step in self._steps:
            if not len(those):
                return
            step.read(messages, those, slots)
            those = messages.alive(those)


class Blocks:
    """An array or map: blocks of items, each with their number before them. Of a map nothing is kept."""

    def __init__(self, item: Step, column: ListColumn | None, what: str) -> None:
        self._item = item
        self._column = column
        self._what = what

    def read(self, messages: Messages, those: Numbers, slots: Numbers | None) -> None:
        if self._column is not None:
            self._column.begin(_where(those, slots))
        while len(those):
            those, counts = messages.whole(those, self._what)
            sized = counts < 0
            if sized.any():  # a block that can be skipped says how many bytes it has
                messages.whole(those[sized], self._what)
                counts = np.abs(counts)
            those, counts = _kept(messages, those, counts, counts != 0)
            # Every item has a byte at least, so that a count alone never makes work.
            over = (counts < 0) | (counts > messages.left(those))
            if over.any():
                messages.fail(those[over], f"{self._what} has more items than bytes are left")
                those, counts = _kept(messages, those, counts, ~over)
            if len(those):
                firsts = None if self._column is None else self._column.extend(_where(those, slots), counts)
                self._items(messages, those, counts, firsts)
            those = messages.alive(those)

    def _items(self, messages: Messages, those: Numbers, counts: Numbers, firsts: Numbers | None) -> None:
        item = self._item
        if isinstance(item, Number) or (isinstance(item, Blob) and item.size is None):
            _simple_items(messages, those, counts, np.zeros_like(counts) if firsts is None else firsts, item)
            return
        slots = None if firsts is None else np.zeros(messages.count, np.int64)
        for number in range(int(counts.max())):
            if number:
                left = (counts > number) & np.isin(those, messages.alive(those), assume_unique=True)
                those, counts = those[left], counts[left]
                firsts = None if firsts is None else firsts[left]
            if not len(those):
                return
            if slots is not None and firsts is not None:
                slots[those] = firsts + number
            item.read(messages, those, slots)


def _simple_items(messages: Messages, those: Numbers, counts: Numbers, firsts: Numbers, item: Number | Blob) -> None:
    """Items that are read without a step for each: a list may have as many as its message has bytes."""
    if isinstance(item, Number) and item.kind in _FIXED:
        _fixed_items(messages, those, counts, firsts, item)
        return
    for message, count, first in zip(those.tolist(), counts.tolist(), firsts.tolist(), strict=True):
        if isinstance(item, Number):
            _whole_items(messages, message, count, first, item)
        else:
            _blob_items(messages, message, count, first, item)


def _fixed_items(messages: Messages, those: Numbers, counts: Numbers, firsts: Numbers, item: Number) -> None:
    dtype = np.dtype(_FIXED[item.kind])
    found = messages.slices(those, counts * dtype.itemsize, item.what)
    kept = np.isin(those, found.messages, assume_unique=True)
    counts, firsts = counts[kept], firsts[kept]
    if not len(counts):
        return
    steps = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    values = messages.numbers_at(np.repeat(found.starts, counts) + steps * dtype.itemsize, dtype.str)
    item.put(messages, np.repeat(found.messages, counts), np.repeat(firsts, counts) + steps, values)


def _whole_items(messages: Messages, message: int, count: int, first: int, item: Number) -> None:
    start, one = int(messages.cursor[message]), np.array([message])
    ends = messages.varint_ends(start, count)
    if ends is None or ends[-1] > messages.ends[message]:
        messages.fail(one, TRUNCATED.format(item.what))
        return
    values = varints(messages.raw, np.concatenate([[start], ends[:-1]]), ends)
    if values is None:
        messages.fail(one, f"{item.what} is a number of more than 64 bits")
        return
    messages.cursor[message] = ends[-1]
    item.put(messages, np.full(count, message), np.arange(first, first + count), values)


def _blob_items(messages: Messages, message: int, count: int, first: int, item: Blob) -> None:
    data, at, end = messages.data, int(messages.cursor[message]), int(messages.ends[message])
    starts, lengths = [], []
    for _ in range(count):
        bits = shift = 0
        while at < end and shift < 64:
            group = data[at]
            at += 1
            bits |= (group & 0x7F) << shift
            shift += 7
            if group < 0x80:
                break
        else:
            bits = -1 if shift < 64 else 1  # too few bytes, or too many
        length = (bits >> 1) ^ -(bits & 1) if bits >= 0 else end
        if not 0 <= length <= end - at:
            reason = f"{item.what} has a negative length" if length < 0 else TRUNCATED.format(item.what)
            messages.fail(np.array([message]), reason)
            return
        starts.append(at)
        lengths.append(length)
        at += length
    messages.cursor[message] = at
    if item.column is not None:
        found = Slices(np.full(count, message), np.array(starts), np.array(lengths))
        item.column.put_slices(np.arange(first, first + count), found)


def _kept(messages: Messages, those: Numbers, counts: Numbers, kept: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """The messages to go on with: those that are wanted and alive."""
    if messages.failed:
        kept = kept & np.isin(those, messages.alive(those), assume_unique=True)
    return those[kept], counts[kept]


def _where(those: Numbers, slots: Numbers | None) -> Numbers:
    return those if slots is None else slots[those]


def _inexact(values: NDArray[Any], bits: int) -> NDArray[np.bool_]:
    made: NDArray[np.bool_] = values.astype(np.float64 if bits == 53 else np.float32).astype(np.int64) != values
    return made
