"""JSON messages: one object a message, whose members are columns.

Columns of declared types are read value by value where their kinds are mixed, so that one odd value fails its own
message alone, and whole numbers never pass through a float that cannot hold them. Of a member that stands twice the
last one counts, as in every other JSON that Tiffin reads. Members of an object in an object are columns with dots.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
import polars as pl

from tiffin import clock
from tiffin.errors import InvalidArgument, InvalidData
from tiffin.json_columns import encoded, is_nested, json_column
from tiffin.stream.decode import Rows, Writing
from tiffin.types import ValueType, polars_type

#: Whole numbers up to here are exact as a float.
_EXACT: Final = 2**53
_INT64: Final = range(-(2**63), 2**63)
_INT32: Final = range(-(2**31), 2**31)

#: The kinds of values that a column of a type holds without a second look.
_PLAIN: Final[dict[ValueType, tuple[set[type], pl.DataType]]] = {
    ValueType.STRING: ({str}, pl.String()),
    ValueType.BOOL: ({bool}, pl.Boolean()),
    ValueType.DOUBLE: ({float}, pl.Float64()),
    ValueType.FLOAT: ({float}, pl.Float64()),
    ValueType.BYTES: ({str}, pl.String()),
    ValueType.UNIX_TIMESTAMP: ({str}, pl.String()),
}
#: Types that JSON writes as texts.
_WRITTEN: Final = frozenset({ValueType.BYTES, ValueType.UNIX_TIMESTAMP})


class JsonReader:
    """Reads JSON objects. Of ``columns`` the rest is left out; ``types`` say what a column is declared to hold."""

    def __init__(self, types: Mapping[str, ValueType], columns: Collection[str] | None) -> None:
        self._types = types
        self._columns = None if columns is None else list(dict.fromkeys(columns))
        self._decoder = msgspec.json.Decoder()

    def read(self, values: Sequence[bytes]) -> Rows:
        failed: dict[int, str] = {}
        rows = [self._row(value, number, failed) for number, value in enumerate(values)]
        names = self._columns or list(dict.fromkeys(name for row in rows for name in row))
        texts: dict[str, Writing] = {}
        columns = []
        for name in names:
            found = [row.get(name) for row in rows]
            dtype = self._types.get(name)
            column, writing = _undeclared(name, found) if dtype is None else _declared(name, found, dtype, failed)
            columns.append(column)
            if writing is not None and dtype is not None:
                texts[name] = writing
        return Rows(pl.DataFrame(columns), failed, texts)

    def _row(self, value: bytes, number: int, failed: dict[int, str]) -> dict[str, Any]:
        try:
            row = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            failed[number] = f"the message is not JSON: {error}"
            return {}
        except RecursionError:
            failed[number] = "the message is JSON of too many levels"
            return {}
        if type(row) is not dict:
            failed[number] = "the message is JSON, but no object"
            return {}
        return _flat(row) if any(type(item) is dict for item in row.values()) else row


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The members of an object and of the objects in it, named by their way."""
    found: dict[str, Any] = {}
    left = [("", row)]
    while left:
        way, members = left.pop()
        for name, value in members.items():
            if type(value) is dict:
                left.append((f"{way}{name}.", value))
            else:
                found[f"{way}{name}"] = value
    return found


def _undeclared(name: str, values: list[Any]) -> tuple[pl.Series, Writing | None]:
    column = None if is_nested(values) else json_column(name, values)
    if column is not None:
        return column, None
    return pl.Series(name, [encoded(value) for value in values], pl.String), "json"


def _declared(
    name: str, values: list[Any], dtype: ValueType, failed: dict[int, str]
) -> tuple[pl.Series, Writing | None]:
    """A column of a declared type; rows whose values have no reading are noted as failed, and null."""
    kinds = set(map(type, values)) - {type(None)}
    if dtype in _PLAIN:
        plain, made = _PLAIN[dtype]
        if kinds <= plain:
            return pl.Series(name, values, made), "plain" if dtype in _WRITTEN else None
    elif kinds <= {int} and not dtype.is_list:
        try:
            return pl.Series(name, values, pl.Int64), None
        except (OverflowError, TypeError):
            kinds = {float}  # one of them is too large: look at each
    read = partial(_list, element=dtype.element) if dtype.is_list else _SCALARS[dtype]
    found: list[Any] = [None] * len(values)
    for row, value in enumerate(values):
        if value is not None:
            try:
                found[row] = read(value)
            except ValueError as error:
                failed.setdefault(row, f"{name}: {error}")
    if dtype in _WRITTEN:
        return pl.Series(name, found, pl.String), "plain"
    return pl.Series(name, found, polars_type(dtype)), None


def _list(value: Any, *, element: ValueType) -> list[Any]:
    if type(value) is not list:
        raise InvalidData(f"{_shown(value)} is no list")
    read = _ELEMENTS[element]
    return [None if item is None else read(item) for item in value]


def _whole(value: Any, limits: range = _INT64) -> int:
    if type(value) is float and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if type(value) is not int or value not in limits:
        raise InvalidData(f"{_shown(value)} is no whole number of {(limits.stop - 1).bit_length() + 1} bits")
    return value


def _real(value: Any) -> float:
    if type(value) is int:
        real = float(value) if abs(value) < 1 << 1023 else math.inf
        if real != value:
            raise InvalidData(f"{_shown(value)} is not exact as a float")
        return real
    if type(value) is not float:
        raise InvalidData(f"{_shown(value)} is no number")
    return value


def _single(value: Any) -> float:
    real = _real(value)
    if abs(real) > 3.4028235677973366e38:  # what rounds to the largest finite one
        raise InvalidData(f"{_shown(value)} is too large for a float of 32 bits")
    return real


def _of_kind(value: Any, *, kind: type, words: str) -> Any:
    if type(value) is not kind:
        raise InvalidData(f"{_shown(value)} is no {words}")
    return value


def _written_time(value: Any) -> str:
    """A time as the text that stands for it: whole seconds stand as digits."""
    return value if type(value) is str else str(_whole(value))


def _time(value: Any) -> datetime:
    try:
        return clock.to_datetime(clock.to_micros(value) if type(value) is str else _whole(value) * 1_000_000)
    except (InvalidArgument, OverflowError):
        raise InvalidData(f"{_shown(value)} is no time") from None


def _bytes(value: Any) -> bytes:
    return b64decode(_of_kind(value, kind=str, words="text of base64"), validate=True)


def _shown(value: Any) -> str:
    text = encoded(value) or "null"
    return text if len(text) <= 80 else f"{text[:80]}…"


_text: Final = partial(_of_kind, kind=str, words="text")
_truth: Final = partial(_of_kind, kind=bool, words="truth value")

_SCALARS: Final[dict[ValueType, Callable[[Any], Any]]] = {
    ValueType.STRING: _text,
    ValueType.BOOL: _truth,
    ValueType.INT32: partial(_whole, limits=_INT32),
    ValueType.INT64: _whole,
    ValueType.DOUBLE: _real,
    ValueType.FLOAT: _single,
    ValueType.BYTES: _text,
    ValueType.UNIX_TIMESTAMP: _written_time,
}
_ELEMENTS: Final[dict[ValueType, Callable[[Any], Any]]] = {
    **_SCALARS,
    ValueType.BYTES: _bytes,
    ValueType.UNIX_TIMESTAMP: _time,
}
