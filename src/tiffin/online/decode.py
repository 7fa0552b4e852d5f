"""Stored values to columns: one compiled decoder for a layout and the features that are wanted of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from tiffin.definitions import schema
from tiffin.errors import CorruptData
from tiffin.online.layout import BIAS, HAS_NULLS, HEADER, OFFSET_BYTES, Layout, is_variable, width
from tiffin.types import TYPE_NAMES, ValueType

Blob = Callable[[bytes], Any]
Column = Sequence[Any]

_RANK_TAIL: Final = 24


class _Slot(NamedTuple):
    """Where a wanted feature stands: ``field`` in the unpacked tuple, ``start`` that of the end before it.

    ``start`` is -1 for the first in the variable part. ``blob`` reads variable bytes, None for scalars. ``byte`` and
    ``mask`` find the feature's bit in the bitmap of nulls.
    """

    field: int
    start: int
    blob: Blob | None
    byte: int
    mask: int


class Decoder:
    """Reads the ``wanted`` features from values of one layout.

    A feature that the layout lacks, or holds in another type, is absent: it was added or changed after the row was
    written (semantics, section 4).
    """

    def __init__(self, layout: Layout, wanted: Sequence[schema.Column]) -> None:
        slots, form = _compile(layout, wanted)
        self._unpack = struct.Struct(form).unpack_from
        self._variable_start = struct.calcsize(form)
        self._no_nulls = bytes(layout.null_bytes)
        self._slots = slots
        scalars = [slot.field for slot in slots if slot is not None and slot.blob is None]
        # Where all is there and nothing varies in width, the unpacked fields are the columns.
        self._plain = scalars if len(scalars) == len(slots) else None
        self._in_order = self._plain == list(range(2, len(slots) + 2))
        #: Whether values of this layout hold every wanted feature.
        self.complete = None not in slots

    def row(self, value: bytes) -> tuple[int, tuple[Any, ...]] | None:
        """Event time and values of one row; None where anything in it is null, or not all that is wanted are scalars.

        CorruptData where bytes are cut short.
        """
        if self._plain is None:
            return None
        try:
            fields = self._unpack(value)
        except struct.error as error:
            raise _cut_short(error) from error
        if fields[1] != self._no_nulls:
            return None
        return fields[0] - BIAS, fields[2:] if self._in_order else tuple([fields[field] for field in self._plain])

    def columns(self, values: Sequence[bytes]) -> tuple[list[int], list[Column | None], list[list[int]] | None]:
        """Event times, a column a wanted feature (None where absent), and the rows in which each is null.

        ``values`` must not be empty and must all have this layout. Null values are None in their column; timestamps
        are UTC microseconds. The last is None where no value is null. CorruptData where bytes are cut short.
        """
        try:
            return self._columns(values)
        except (struct.error, UnicodeDecodeError) as error:
            raise _cut_short(error) from error

    def _columns(self, values: Sequence[bytes]) -> tuple[list[int], list[Column | None], list[list[int]] | None]:
        fields = list(zip(*map(self._unpack, values), strict=True))
        events = [event - BIAS for event in fields[0]]
        nulls = fields[1]
        clean = nulls.count(self._no_nulls) == len(nulls)
        if clean and self._plain is not None:
            return events, [fields[field] for field in self._plain], None
        columns = [self._column(slot, fields, values) for slot in self._slots]
        if clean:
            return events, columns, None
        empty = [_null_rows(slot, nulls) for slot in self._slots]
        return events, [_without(column, rows) for column, rows in zip(columns, empty, strict=True)], empty

    def _column(self, slot: _Slot | None, fields: list[tuple[Any, ...]], values: Sequence[bytes]) -> Column | None:
        if slot is None:
            return None
        return fields[slot.field] if slot.blob is None else self._variable(slot.blob, slot, fields, values)

    def _variable(self, blob: Blob, slot: _Slot, fields: list[tuple[Any, ...]], values: Sequence[bytes]) -> Column:
        base = self._variable_start
        starts = fields[slot.start] if slot.start >= 0 else (0,) * len(values)
        rows = zip(values, starts, fields[slot.field], strict=True)
        return [blob(value[base + start : base + end]) for value, start, end in rows]


def _cut_short(error: Exception) -> CorruptData:
    return CorruptData(f"A value of the online store cannot be read: {error}.", hint="Materialize the table again.")


def _null_rows(slot: _Slot | None, bitmaps: Sequence[bytes]) -> list[int]:
    if slot is None:
        return []
    byte, mask = slot.byte, slot.mask
    return [row for row, bits in enumerate(bitmaps) if bits[byte] & mask]


def _without(column: Column | None, rows: list[int]) -> Column | None:
    """A column with None in some rows."""
    if column is None or not rows:
        return column
    changed = list(column)
    for row in rows:
        changed[row] = None
    return changed


def _compile(layout: Layout, wanted: Sequence[schema.Column]) -> tuple[list[_Slot | None], str]:
    """The slots of the wanted features, and a struct that unpacks only what they need."""
    position = {name: at for at, (name, _) in enumerate(layout.features)}
    found = [
        at if (at := position.get(column.name)) is not None and layout.features[at][1] is column.dtype else None
        for column in wanted
    ]
    before: dict[int, int] = {}
    last = -1
    for at, (_, dtype) in enumerate(layout.features):
        if is_variable(dtype):
            before[at] = last
            last = at
    needed = {at for at in found if at is not None}
    needed |= {before[at] for at in needed if before.get(at, -1) >= 0}
    form = f">Q{_RANK_TAIL}x{HEADER.size}x{layout.null_bytes}s"
    field: dict[int, int] = {}
    for at, (_, dtype) in enumerate(layout.features):
        if at not in needed:
            form += f"{width(dtype)}x"
            continue
        field[at] = len(field) + 2
        form += "I" if is_variable(dtype) else TYPE_NAMES[dtype].struct
    slots: list[_Slot | None] = []
    for at in found:
        if at is None:
            slots.append(None)
            continue
        start = field.get(before.get(at, -1), -1)
        slots.append(_Slot(field[at], start, _blob(layout.features[at][1]), at // 8, 1 << (at % 8)))
    return slots, form


def _blob(dtype: ValueType) -> Blob | None:
    """The reader of a variable value, None for scalars."""
    if not is_variable(dtype):
        return None
    if not dtype.is_list:
        return _ELEMENTS[dtype]
    if is_variable(dtype.element):
        return partial(_list_of_variable, _ELEMENTS[dtype.element])
    return partial(_list_of_fixed, TYPE_NAMES[dtype.element].struct)


def _list_head(data: bytes) -> tuple[int, int, bytes]:
    """The length of a list that is not null, where its elements begin, and its bitmap of nulls, if it has any."""
    length = int.from_bytes(data[:OFFSET_BYTES], "big")
    if not length & HAS_NULLS:
        return length, OFFSET_BYTES, b""
    length &= ~HAS_NULLS
    end = OFFSET_BYTES + (length + 7) // 8
    return length, end, data[OFFSET_BYTES:end]


def _list_of_fixed(code: str, data: bytes) -> list[Any] | None:
    if not data:
        return None
    length, start, nulls = _list_head(data)
    return _with_nulls(list(struct.unpack_from(f">{length}{code}", data, start)), nulls)


def _list_of_variable(element: Blob, data: bytes) -> list[Any] | None:
    if not data:
        return None
    length, start, nulls = _list_head(data)
    ends = struct.unpack_from(f">{length}I", data, start)
    base = start + length * OFFSET_BYTES
    return _with_nulls([element(data[base + a : base + b]) for a, b in pairwise((0, *ends))], nulls)


def _with_nulls(items: list[Any], nulls: bytes) -> list[Any]:
    if nulls:
        for position in range(len(items)):
            if nulls[position // 8] >> (position % 8) & 1:
                items[position] = None
    return items


_ELEMENTS: Final[dict[ValueType, Blob]] = {ValueType.STRING: bytes.decode, ValueType.BYTES: bytes}
