"""Compare: one stored row and the one that the history has for its key, byte by byte (semantics, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tiffin import clock
from tiffin.definitions.schema import EVENT_TS, Column, TableSchema
from tiffin.errors import CorruptData
from tiffin.ingest.consistency import Kind
from tiffin.online.base import RANK_BYTES
from tiffin.online.codec import encode_frame
from tiffin.online.decode import Decoder
from tiffin.online.layout import HEADER_END, ONLINE_ONLY, TOMBSTONE, Layout, event_time, layout_number
from tiffin.types import ValueType

if TYPE_CHECKING:
    import polars as pl

Verdict = tuple[Kind, str]
"""How a row differs, and in words why."""

#: Stands for the layout that a store does not have yet; no row of it has this number.
_NO_LAYOUT: Final = (1 << 32) - 1
_CUT_SHORT: Final = "it is cut short"
_CHANGED: Final = "the definition has changed since it was written"


class Comparison:
    """The rows of one table as they should be stored, and what is wrong with those that are.

    ``layouts`` are the store's. ``outdated`` says that the definition has changed since rows were last written: then
    other values under the same rank are old ones, and no fault of the store.
    """

    def __init__(self, table: TableSchema, layouts: Sequence[bytes], *, outdated: bool) -> None:
        self._table = table
        self._layouts = list(layouts)
        self._outdated = outdated
        current = Layout.of(table.features).to_bytes()
        self._number = self._layouts.index(current) if current in self._layouts else _NO_LAYOUT

    def encoded(self, frame: pl.DataFrame) -> list[tuple[bytes, bytes]]:
        """The key and value of every winner of the history, as they would be written now."""
        return encode_frame(self._table, self._number, frame)

    def verdict(self, row: pl.DataFrame, expected: bytes, held: bytes) -> Verdict | None:
        """What is wrong with a stored row of at most the rank of ``row``, the winner; None where nothing is."""
        if held == expected:
            return None
        if len(held) < HEADER_END:
            return Kind.DIFFERENT, _CUT_SHORT
        if held[:RANK_BYTES] < expected[:RANK_BYTES]:
            return Kind.STALE, _older(expected, held)
        head, flags = held[RANK_BYTES:HEADER_END], held[RANK_BYTES + 1]
        if flags != expected[RANK_BYTES + 1]:
            return Kind.DIFFERENT, _wrong_flags(flags)
        try:
            number = layout_number(head)
        except CorruptData as error:
            return Kind.DIFFERENT, error.message
        if number >= len(self._layouts):
            return Kind.DIFFERENT, f"its layout has the number {number}, the store knows {len(self._layouts)}"
        if flags & TOMBSTONE:
            return (Kind.DIFFERENT, "bytes follow its end") if len(held) != HEADER_END else None
        return self._same_rank(row, number, held)

    def _same_rank(self, row: pl.DataFrame, number: int, held: bytes) -> Verdict | None:
        """What is wrong with the values of a stored row that is of the very rank."""
        try:
            layout = Layout.from_bytes(self._layouts[number])
        except CorruptData as error:
            return Kind.DIFFERENT, error.message
        known = {(column.name, column.dtype): column for column in self._table.features}
        columns = [known.get(feature) for feature in layout.features]
        absent = [column.name for column in self._table.features if (column.name, column.dtype) not in layout.features]
        whole = [column for column in columns if column is not None]
        exact = len(whole) == len(columns)
        if not (self._as(row, whole, number) == held if exact else self._values_equal(row, layout, held)):
            told = self._told(row, layout, held)
            return (Kind.STALE, f"{_CHANGED}: {told}") if self._outdated else (Kind.DIFFERENT, told)
        if absent:
            return Kind.STALE, f"it was written before these features were added: {', '.join(map(repr, absent))}"
        return None

    def _as(self, row: pl.DataFrame, columns: Sequence[Column], number: int) -> bytes:
        """The row as it is stored in another layout of features that all are declared still."""
        return encode_frame(replace(self._table, features=tuple(columns)), number, row)[0][1]

    def _values_equal(self, row: pl.DataFrame, layout: Layout, held: bytes) -> bool:
        """Whether the features that are declared still have their values; those that were removed nobody knows."""
        present = tuple(c for c in self._table.features if (c.name, c.dtype) in layout.features)
        try:
            _, found, _ = Decoder(layout, present).columns([held])
            again = self._as(row, present, self._number)
            _, wanted, _ = Decoder(Layout.of(present), present).columns([again])
        except CorruptData:
            return False
        return repr(found) == repr(wanted)  # bit for bit but for the payload of a NaN, which equals nothing

    def _told(self, row: pl.DataFrame, layout: Layout, held: bytes) -> str:
        """Which features differ, in words."""
        try:
            _, found, _ = Decoder(layout, self._table.features).columns([held])
        except CorruptData:
            return "it cannot be read"
        wanted = self.offline(row)
        differing = [
            column.name
            for column, values in zip(self._table.features, found, strict=True)
            if values is not None and repr(_shown(values[0], column.dtype)) != repr(wanted[column.name])
        ]
        return f"{', '.join(map(repr, differing))} differ" if differing else "its bytes differ"

    def offline(self, row: pl.DataFrame) -> dict[str, Any]:
        """A winner of the history for a report."""
        values = row.select([EVENT_TS, *self._table.feature_names]).row(0, named=True)
        return {"event_timestamp": values.pop(EVENT_TS), **values}

    def online(self, held: bytes | None) -> dict[str, Any] | None:
        """A stored row for a report, as far as it can be read."""
        if held is None or len(held) < HEADER_END:
            return None
        shown: dict[str, Any] = {"event_timestamp": _instant(event_time(held))}
        if held[RANK_BYTES + 1] & TOMBSTONE:
            return {**shown, "deleted": True}
        try:
            number = layout_number(held[RANK_BYTES:HEADER_END])
            layout = Layout.from_bytes(self._layouts[number])
            _, columns, _ = Decoder(layout, self._table.features).columns([held])
        except (CorruptData, IndexError):
            return shown
        named = zip(self._table.features, columns, strict=True)
        return shown | {c.name: _shown(values[0], c.dtype) for c, values in named if values is not None}


def is_online_only(held: bytes) -> bool:
    """Whether a stored row says of itself that no history holds it."""
    return len(held) >= HEADER_END and bool(held[RANK_BYTES + 1] & ONLINE_ONLY)


def _older(expected: bytes, held: bytes) -> str:
    event, newer = event_time(held), event_time(expected)
    if event != newer:
        return f"it is of {_time(event)}, the history has a row of {_time(newer)}"
    return f"the history has a later row of the same time, {_time(event)}"


def _wrong_flags(flags: int) -> str:
    if flags & ~(TOMBSTONE | ONLINE_ONLY):
        return f"its flags are {flags}, which nothing means"
    if flags & ONLINE_ONLY:
        return "it is marked as one that no history holds"
    return "it is marked as deleted" if flags & TOMBSTONE else "its deletion is missing"


def _shown(value: Any, dtype: ValueType) -> Any:
    if value is None:
        return None
    if dtype is ValueType.UNIX_TIMESTAMP:
        return _instant(value)
    if dtype is ValueType.UNIX_TIMESTAMP_LIST:
        return [None if item is None else _instant(item) for item in value]
    return value


def _instant(micros: int) -> Any:
    """An instant, or its number where no calendar has it."""
    try:
        return clock.to_datetime(micros)
    except (OverflowError, ValueError):
        return micros


def _time(micros: int) -> str:
    try:
        return clock.to_iso(micros)
    except (OverflowError, ValueError):
        return f"{micros} us"
