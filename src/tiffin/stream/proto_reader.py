"""Protobuf messages as rows.

A field that tells whether it was set is null where it was not, unless its definition has a default of its own; one that
does not tell (proto3 without ``optional``) always has a value. Messages in messages are columns with dots; wrappers are
their values; a Timestamp is a time, finer ones rounded up to the microsecond; an enum is the name of its value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import polars as pl
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from tiffin.errors import InvalidData
from tiffin.stream.decode import INSTANT, Rows, check_columns
from tiffin.stream.proto_types import MessageClass

_TYPES: Final[dict[int, pl.DataType]] = {
    FieldDescriptor.CPPTYPE_INT32: pl.Int32(),
    FieldDescriptor.CPPTYPE_INT64: pl.Int64(),
    FieldDescriptor.CPPTYPE_UINT32: pl.UInt32(),
    FieldDescriptor.CPPTYPE_UINT64: pl.UInt64(),
    FieldDescriptor.CPPTYPE_DOUBLE: pl.Float64(),
    FieldDescriptor.CPPTYPE_FLOAT: pl.Float32(),
    FieldDescriptor.CPPTYPE_BOOL: pl.Boolean(),
    FieldDescriptor.CPPTYPE_STRING: pl.String(),
}
_REPEATED: Final = 3  # FieldDescriptor.LABEL_REPEATED, whose mention warns in newer versions
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class _Column(NamedTuple):
    """A field at the end of a way through messages. ``convert`` makes of a field's value that of the column."""

    name: str
    way: tuple[str, ...]
    field: FieldDescriptor
    dtype: pl.DataType
    convert: Callable[[Any], Any] | None


class ProtoReader:
    """Reads messages of one class. ``columns`` are those that are wanted, all where it is None."""

    def __init__(self, message: MessageClass, columns: Collection[str] | None) -> None:
        self._class = message
        self._empty = message()
        refused: dict[str, str] = {}
        descriptor: Any = message.DESCRIPTOR
        found = list(_columns(descriptor, (), frozenset(), refused))
        check_columns(columns, refused, f"the message {descriptor.full_name}")
        self._columns = [column for column in found if columns is None or column.name in columns]

    def read(self, values: Sequence[bytes]) -> Rows:
        failed: dict[int, str] = {}
        messages = [self._parsed(value, number, failed) for number, value in enumerate(values)]
        parents: dict[tuple[str, ...], list[Any]] = {(): messages}
        series = [_series(column, _parents(column.way, parents), failed) for column in self._columns]
        return Rows(pl.DataFrame(series), failed)

    def _parsed(self, value: bytes, number: int, failed: dict[int, str]) -> Any:
        message = self._class()
        try:
            message.ParseFromString(value)
        except DecodeError as error:
            failed[number] = f"the message is no {self._class.DESCRIPTOR.full_name}: {error}"
            return self._empty
        if not message.IsInitialized():
            lacking = ", ".join(message.FindInitializationErrors())  # type: ignore[attr-defined]  # of every message
            failed[number] = f"the message lacks what it must have: {lacking}"
            return self._empty
        return message


def _columns(
    descriptor: Descriptor, way: tuple[str, ...], above: frozenset[str], refused: dict[str, str]
) -> Iterator[_Column]:
    """The columns of a message type; what cannot be a column is noted as refused."""
    above |= {descriptor.full_name}
    for field in descriptor.fields:
        name = ".".join((*way, field.name))
        kind = field.message_type
        repeated = _is_repeated(field)
        if kind is not None and kind.GetOptions().map_entry:
            refused[name] = "it is a map"
        elif kind is not None and kind.full_name == _TIMESTAMP:
            yield _column(name, way, field, INSTANT, _micros)
        elif kind is not None and kind.full_name in _WRAPPERS:
            yield _column(name, way, field, _dtype(kind.fields_by_name["value"]), attrgetter("value"))
        elif kind is not None and repeated:
            refused[name] = "its items are messages"
        elif kind is not None and kind.full_name in above:
            refused[name] = "it is a message that contains itself"
        elif kind is not None:
            yield from _columns(kind, (*way, field.name), above, refused)
        elif field.enum_type is not None:
            yield _column(name, way, field, pl.String(), _naming(field.enum_type))
        else:
            yield _column(name, way, field, _dtype(field), None)


def _column(
    name: str, way: tuple[str, ...], field: FieldDescriptor, dtype: pl.DataType, convert: Callable[[Any], Any] | None
) -> _Column:
    return _Column(name, way, field, pl.List(dtype) if _is_repeated(field) else dtype, convert)


def _dtype(field: FieldDescriptor) -> pl.DataType:
    return pl.Binary() if field.type == FieldDescriptor.TYPE_BYTES else _TYPES[field.cpp_type]


def _parents(way: tuple[str, ...], known: dict[tuple[str, ...], list[Any]]) -> list[Any]:
    """The messages that have the field, None where there is none."""
    if way not in known:
        *above, name = way
        outer = _parents(tuple(above), known)
        known[way] = [
            None if message is None or not message.HasField(name) else getattr(message, name) for message in outer
        ]
    return known[way]


def _series(column: _Column, parents: list[Any], failed: dict[int, str]) -> pl.Series:
    try:
        return pl.Series(column.name, _values(column, parents), column.dtype)
    except (InvalidData, TypeError):  # one of them has a value without a meaning: look at each
        values: list[Any] = []
        for number, parent in enumerate(parents):
            try:
                values += pl.Series(column.name, _values(column, [parent]), column.dtype).to_list()
            except InvalidData as error:
                failed.setdefault(number, f"{column.name}: {error}")
                values.append(None)
            except TypeError:  # the older syntax gives a text that is none as its bytes
                failed.setdefault(number, f"{column.name} is not UTF-8")
                values.append(None)
        return pl.Series(column.name, values, column.dtype)


def _values(column: _Column, parents: list[Any]) -> list[Any]:
    name, field, convert = column.field.name, column.field, column.convert
    if _is_repeated(field):
        read = list if convert is None else lambda items: [convert(item) for item in items]
        return [None if parent is None else read(getattr(parent, name)) for parent in parents]
    tells = field.has_presence and (field.message_type is not None or not field.has_default_value)
    if tells:
        found = [None if parent is None or not parent.HasField(name) else getattr(parent, name) for parent in parents]
    elif column.way:
        found = [None if parent is None else getattr(parent, name) for parent in parents]
    else:
        found = list(map(attrgetter(name), parents))
    return found if convert is None else [None if value is None else convert(value) for value in found]


def _is_repeated(field: FieldDescriptor) -> bool:
    # Newer versions tell it by a property and warn of the label; older ones have the label alone.
    repeated: bool | None = getattr(field, "is_repeated", None)
    return getattr(field, "label", None) == _REPEATED if repeated is None else repeated


def _naming(enum: EnumDescriptor) -> Callable[[int], str]:
    names = {value.number: value.name for value in enum.values}

    def name_of(number: int) -> str:
        if number not in names:
            raise InvalidData(f"the enum has no value of the number {number}")
        return names[number]

    return name_of


def _micros(timestamp: Any) -> int:
    """UTC microseconds; nanoseconds between two are rounded up."""
    if not _FIRST_SECOND <= timestamp.seconds <= _LAST_SECOND or not 0 <= timestamp.nanos < 10**9:
        raise InvalidData("the time is not in the years 1 to 9999")
    return int(timestamp.seconds * 1_000_000 - (-timestamp.nanos // 1_000))
