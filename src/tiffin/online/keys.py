"""Keys of a request: coerced to the registered entity types, and encoded as ``codec.py`` encodes those of frames.

"1001" and 1001 are the same INT64 key; 1.5 and True are refused (semantics, sections 2 and 4). A null key, which is
None, NaN or what pandas has for missing, finds nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache, partial
from typing import Any, Final

from tiffin import clock
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument
from tiffin.online.layout import OFFSET_BYTES, key_signature
from tiffin.types import TYPE_NAMES, ValueType

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,20}")
_LIMITS: Final = {ValueType.INT32: 1 << 31, ValueType.INT64: 1 << 63}
_TRUTH: Final = {"true": True, "false": False}
#: A float beyond this does not tell one integer from the next.
_EXACT: Final = 2**53
_SECOND: Final = 1_000_000


class Coercion:
    """Turns what callers give for one entity into its type."""

    def __init__(self, entity: Column) -> None:
        self.name = entity.name
        self._dtype = entity.dtype
        self._convert = _CONVERSIONS[entity.dtype]
        # Values of exactly this Python type need no more than a check of range.
        self._plain = {_PLAIN.get(entity.dtype)}
        #: Integers are at least minus this, and below it; None for other types.
        self.limit = _LIMITS.get(entity.dtype)

    def column(self, values: Sequence[Any]) -> list[Any]:
        """Values in the entity's type, timestamps as UTC microseconds, None for nulls.

        InvalidArgument names the first that does not fit.
        """
        if len(values) == 1 and type(values[0]) is int and self.limit is not None:
            if -self.limit <= values[0] < self.limit:
                return [values[0]]
        elif set(map(type, values)) == self._plain:
            limit = self.limit
            if limit is None or (-limit <= min(values) and max(values) < limit):
                return list(values)
        return [self.one(value) for value in values]

    def one(self, value: Any) -> Any:
        """One value in the entity's type, None for a null."""
        if is_null(value):
            return None
        found = self._convert(native(value))
        if found is None:
            raise InvalidArgument(
                f"Entity {self.name!r} is {self._dtype.name}, which {value!r} is not.",
                field=self.name,
                hint=_HINTS.get(self._dtype, ""),
            )
        return found


def is_null(value: Any) -> bool:
    """Whether a caller's value stands for nothing: None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    if isinstance(value, str | bytes | int):
        return False
    # pandas' NA answers comparisons with itself, so it is known by its name: pandas may not be installed.
    if type(value).__name__ == "NAType":
        return True
    return native(value != value) is True


def native(value: Any) -> Any:
    """A number or truth of numpy as one of Python's; everything else as it is.

    Such a value tells that numpy is loaded. It is not by services, whose keys come as JSON: that takes a sixth of a
    second.
    """
    if type(value).__module__ != "numpy":
        return value
    import numpy as np

    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


def _integer(limit: int, value: Any) -> int | None:
    whole: int | None = None
    if isinstance(value, str):
        whole = int(value) if _WHOLE.fullmatch(value) else None
    elif isinstance(value, float):
        number = float(value)
        whole = int(number) if abs(number) <= _EXACT and number.is_integer() else None
    elif isinstance(value, int) and not isinstance(value, bool):
        whole = int(value)
    return whole if whole is not None and -limit <= whole < limit else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _bytes(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        return _TRUTH.get(value.lower())
    return value if isinstance(value, bool) else None


def _instant(value: Any) -> int | None:
    if type(value).__name__ == "datetime64":  # of numpy
        return int(value.astype("datetime64[us]").astype("int64"))
    if isinstance(value, bool) or not isinstance(value, int | datetime | date | str):
        return None
    # The history reads whole numbers in a column of this type as seconds, too.
    micros = int(value) * _SECOND if isinstance(value, int) else clock.to_micros(value)
    return micros if -(1 << 63) < micros < 1 << 63 else None


_CONVERSIONS: Final[Mapping[ValueType, Callable[[Any], Any]]] = {
    ValueType.INT32: partial(_integer, _LIMITS[ValueType.INT32]),
    ValueType.INT64: partial(_integer, _LIMITS[ValueType.INT64]),
    ValueType.STRING: _text,
    ValueType.BYTES: _bytes,
    ValueType.BOOL: _truth,
    ValueType.UNIX_TIMESTAMP: _instant,
}
_PLAIN: Final = {ValueType.INT32: int, ValueType.INT64: int, ValueType.STRING: str, ValueType.BYTES: bytes}
_HINTS: Final = {
    ValueType.INT32: "Give a whole number from -2147483648 to 2147483647.",
    ValueType.INT64: "Give a whole number of at most 64 bits.",
    ValueType.STRING: "Give a text: numbers are not turned into texts.",
    ValueType.BYTES: "Give bytes.",
    ValueType.BOOL: "Give True or False.",
    ValueType.UNIX_TIMESTAMP: "Give a datetime, an ISO 8601 text or whole seconds since 1970.",
}


class KeyEncoder:
    """Makes the keys of one set of entities from coerced columns."""

    def __init__(self, keys: tuple[Column, ...]) -> None:
        ordered = sorted(keys, key=lambda column: column.name)
        #: The entities' names, in the order of :meth:`encode`'s columns.
        self.names = tuple(column.name for column in ordered)
        self._signature = key_signature(keys)
        self._parts = [_part(column.dtype, last=column is ordered[-1]) for column in ordered]

    def one(self, value: Any) -> bytes:
        """The key of one coerced value, which is not None, of one entity."""
        return self._signature + self._parts[0](value)

    def encode(self, columns: Sequence[Sequence[Any]]) -> list[bytes | None]:
        """The key of every row, None where one of its values is."""
        signature, parts = self._signature, self._parts
        try:
            if len(columns) == 1:
                part = parts[0]
                return [None if value is None else signature + part(value) for value in columns[0]]
            return [
                None if None in row else signature + b"".join([p(value) for p, value in zip(parts, row, strict=True)])
                for row in zip(*columns, strict=True)
            ]
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"The key {error.object!r} is not a Unicode text: {error.reason}.", field=", ".join(self.names)
            ) from None


@cache
def _part(dtype: ValueType, *, last: bool) -> Callable[[Any], bytes]:
    code = TYPE_NAMES[dtype].struct
    if code:
        return struct.Struct(f">{code}").pack
    encode: Callable[[Any], bytes] = str.encode if dtype is ValueType.STRING else bytes
    if last:
        return encode
    return lambda value: len(part := encode(value)).to_bytes(OFFSET_BYTES, "big") + part
