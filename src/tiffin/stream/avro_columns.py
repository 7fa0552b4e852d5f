"""Columns of rows that are made of many messages: what was read of each is put down, and made a column at the end.

Values are put at slots. A column of the row has a slot for each message; the items of lists have slots of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tiffin.stream.avro_bytes import Messages, Numbers, Slices
from tiffin.stream.avro_schema import Array, Enum, Fixed, Logical, Map, Node, Record, Scalar, Union

_STORED: Final = {"boolean": "u1", "int": "i4", "long": "i8", "float": "f4", "double": "f8", "enum": "u4"}
_PLAIN: Final[dict[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "enum": pl.String(),
    "bytes": pl.Binary(),
    "string": pl.String(),
}
_LOGICAL: Final[dict[str, pl.DataType]] = {
    "date": pl.Date(),
    "timestamp-millis": pl.Datetime("ms", "UTC"),
    "timestamp-micros": pl.Datetime("us", "UTC"),
    "timestamp-nanos": pl.Datetime("ns", "UTC"),
    "local-timestamp-millis": pl.Datetime("ms"),
    "local-timestamp-micros": pl.Datetime("us"),
    "local-timestamp-nanos": pl.Datetime("ns"),
}


class Column:
    """Values of one type. ``kind`` is that of the primitive type they are stored as; fixed ones are bytes of a size.

    Those of an enum are its ``symbols``, and ``default`` is the one that stands for others.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        logical: Logical | None = None,
        *,
        symbols: tuple[str, ...] = (),
        default: str | None = None,
        size: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.logical = logical
        self.symbols = symbols
        self.default = default
        self.size = size
        self.dtype = _dtype(kind, logical)
        self._numbers: list[tuple[Numbers, NDArray[Any]]] = []
        self._slices: list[tuple[Numbers, Slices]] = []
        self._constants: list[tuple[Numbers, Any]] = []

    def put(self, slots: Numbers, values: NDArray[Any]) -> None:
        """Numbers, truth values or numbers of symbols at slots."""
        self._numbers.append((slots, values))

    def put_slices(self, slots: Numbers, values: Slices) -> None:
        """Texts or bytes at slots."""
        self._slices.append((slots, values))

    def put_constant(self, slots: Numbers, value: Any) -> None:
        """One value of the column's own type at all of some slots."""
        self._constants.append((slots, value))

    def series(self, messages: Messages, count: int) -> pl.Series:
        """The column with so many slots; those without a value are null. Texts that are none fail their messages."""
        stored = self._texts(messages, count) if self.kind in {"string", "bytes"} else self._array(count)
        made = pl.Series(self.symbols, dtype=pl.String).gather(stored) if self.kind == "enum" else stored
        return _filled(made.cast(self.dtype), self._constants, count).alias(self.name)

    def _array(self, count: int) -> pl.Series:
        if len(self._numbers) == 1 and len(self._numbers[0][0]) == count:
            return pl.Series(self._numbers[0][1].astype(_STORED[self.kind], copy=False))  # slots are ascending: all
        values = np.zeros(count, _STORED[self.kind])
        there = np.zeros(count, np.bool_)
        for slots, some in self._numbers:
            values[slots] = some
            there[slots] = True
        return pl.select(pl.when(pl.Series(there)).then(pl.Series(values))).to_series()

    def _texts(self, messages: Messages, count: int) -> pl.Series:
        parts = [self._checked(messages.series(slices), slices, messages) for _, slices in self._slices]
        if not parts:
            return pl.Series([None] * count, dtype=self.dtype)
        if len(parts) == 1 and len(parts[0]) == count:
            return parts[0]
        places = np.full(count, -1, np.int64)
        places[np.concatenate([slots for slots, _ in self._slices])] = np.arange(sum(map(len, parts)))
        index = pl.Series(places)
        return pl.concat(parts).gather(index.set(index < 0, None).cast(pl.UInt32))

    def _checked(self, found: pl.Series, slices: Slices, messages: Messages) -> pl.Series:
        """Bytes as what they mean; where they mean nothing the message fails."""
        if self.logical is not None:
            made, reason = _decimals(found, self.logical), f"{self.name} has more digits than its schema says"
        elif self.kind == "string":
            made, reason = _texts(found), f"{self.name} is not UTF-8"
        else:
            return found
        if made.null_count():
            messages.fail(slices.messages[made.is_null().to_numpy()], reason)
        return made


class ListColumn:
    """Lists of values of one type. The items of one list have slots in a row, or in several rows, one a block."""

    def __init__(self, name: str, item: Column) -> None:
        self.name = name
        self.item = item
        self.dtype = pl.List(item.dtype)
        self._there: list[Numbers] = []
        self._blocks: list[tuple[Numbers, Numbers, Numbers]] = []
        self._constants: list[tuple[Numbers, Any]] = []
        self._slots = 0

    def begin(self, slots: Numbers) -> None:
        """There are lists at some slots, empty so far."""
        self._there.append(slots)

    def extend(self, slots: Numbers, counts: Numbers) -> Numbers:
        """So many items more in the lists at some slots; the first slot of the items of each."""
        firsts = self._slots + np.cumsum(counts) - counts
        self._blocks.append((slots, firsts, counts))
        self._slots += int(counts.sum())
        return firsts

    def put_constant(self, slots: Numbers, value: Any) -> None:
        """One list at all of some slots."""
        self._constants.append((slots, value))

    def series(self, messages: Messages, count: int) -> pl.Series:
        """The column with so many slots; those without a list are null."""
        there = np.zeros(count, np.bool_)
        for slots in self._there:
            there[slots] = True
        lists = np.concatenate([np.repeat(slots, counts) for slots, _, counts in self._blocks] or [_NONE])
        order = np.argsort(lists, kind="stable")
        items = self.item.series(messages, self._slots)
        frame = pl.DataFrame({"list": lists[order], "item": items.gather(pl.Series(order, dtype=pl.UInt32))})
        grouped = frame.group_by("list", maintain_order=True).agg(pl.col("item"))
        rows = pl.DataFrame({"list": np.arange(count), "there": there}).join(grouped, on="list", how="left")
        empty = pl.lit([], self.dtype)
        made = rows.select(
            pl.when(pl.col("item").is_not_null())
            .then(pl.col("item"))
            .when(pl.col("there"))
            .then(empty)
            .otherwise(None)
            .cast(self.dtype)
        ).to_series()
        return _filled(made, self._constants, count).alias(self.name)


class Fields:
    """The fields of a record that become columns, by their names in the declared schema."""

    def __init__(self, columns: Mapping[str, Sink]) -> None:
        self.columns = columns


Sink = Column | ListColumn | Fields | None
"""Where what is read goes; None where nobody wants it."""


def sinks(record: Record, wanted: set[str] | None, refused: dict[str, str], way: str = "") -> Fields:
    """The columns of a record, but for those that are not wanted. What cannot be a column is noted as refused."""
    return Fields({field.name: _sink(field.node, f"{way}{field.name}", wanted, refused) for field in record.fields})


def _sink(node: Node, name: str, wanted: set[str] | None, refused: dict[str, str]) -> Sink:
    if isinstance(node, Union):
        inner = _joined(node)
        if inner is None:
            refused[name] = "it is a union of types that no column has at once"
            return None
        node = inner
    if isinstance(node, Record):
        return sinks(node, wanted, refused, f"{name}.")
    if wanted is not None and name not in wanted:
        return None
    if isinstance(node, Array):
        item = _joined(node.items) if isinstance(node.items, Union) else node.items
        column = None if item is None else _column(item, name)
        if column is None:
            refused[name] = "its items are neither numbers, texts, bytes nor times"
            return None
        return ListColumn(name, column)
    made = _column(node, name)
    if made is None:
        refused[name] = "it is a map" if isinstance(node, Map) else "it never has a value"
    return made


def _column(node: Node, name: str) -> Column | None:
    match node:
        case Scalar(kind, logical) if kind != "null":
            return Column(name, kind, logical)
        case Fixed(_, size, _, logical):
            return Column(name, "bytes", logical, size=size)
        case Enum(_, symbols, _, default):
            return Column(name, "enum", symbols=symbols, default=default)
        case _:
            return None


def _joined(union: Union) -> Node | None:
    """The one type of a union beside null; None where no type holds them all."""
    branches = [branch for branch in union.branches if branch != Scalar("null")]
    if len(branches) == 1:
        return branches[0]
    for wide in ("long", "double"):
        narrow = {"long": "int", "double": "float"}[wide]
        if branches and all(branch in (Scalar(wide), Scalar(narrow)) for branch in branches):
            return Scalar(wide)
    return None if branches else Scalar("null")


def _dtype(kind: str, logical: Logical | None) -> pl.DataType:
    if logical is None:
        return _PLAIN[kind]
    if logical.name == "decimal":
        return pl.Decimal(max(1, logical.precision), logical.scale)
    return _LOGICAL[logical.name]


def _decimals(stored: pl.Series, logical: Logical) -> pl.Series:
    """Numbers from their digits as big-endian integers; null where they have more digits than declared."""
    limit = 10**logical.precision
    digits = (int.from_bytes(raw, "big", signed=True) for raw in stored.to_list())
    found = [Decimal(n).scaleb(-logical.scale, _EXACT) if abs(n) < limit else None for n in digits]
    return pl.Series(found, dtype=_dtype("bytes", logical))


def _texts(stored: pl.Series) -> pl.Series:
    """Texts from their bytes; null where they are none."""
    try:
        return stored.cast(pl.String)
    except pl.exceptions.ComputeError:  # one of them is none: look at each
        return pl.Series([_text(raw) for raw in stored.to_list()], dtype=pl.String)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _filled(made: pl.Series, constants: list[tuple[Numbers, Any]], count: int) -> pl.Series:
    """A column with one value at all of some slots."""
    for slots, value in constants:
        mask = np.zeros(count, np.bool_)
        mask[slots] = True
        one = pl.Series([value]).cast(made.dtype)
        made = pl.select(pl.when(pl.Series(mask)).then(pl.lit(one)).otherwise(made)).to_series()
    return made


_EXACT: Final = Context(prec=60)
_NONE: Final[Numbers] = np.zeros(0, np.int64)
