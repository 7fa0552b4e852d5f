"""The types of keys and features, and what each is called in every system that Tiffin touches.

One table maps a :class:`ValueType` to Polars, Arrow, Spark and BigQuery (semantics, section 2). Polars types are kept
by name and resolved on use, so that importing definitions does not import Polars.
"""

from __future__ import annotations

import enum
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from tiffin.errors import InvalidDefinition, closest

if TYPE_CHECKING:
    import polars as pl


class ValueType(enum.Enum):
    """The type of an entity key or of a feature. The numbers are those of Feast's wire format."""

    UNKNOWN = 0
    BYTES = 1
    STRING = 2
    INT32 = 3
    INT64 = 4
    DOUBLE = 5
    FLOAT = 6
    BOOL = 7
    UNIX_TIMESTAMP = 8
    BYTES_LIST = 11
    STRING_LIST = 12
    INT32_LIST = 13
    INT64_LIST = 14
    DOUBLE_LIST = 15
    FLOAT_LIST = 16
    BOOL_LIST = 17
    UNIX_TIMESTAMP_LIST = 18

    @property
    def is_list(self) -> bool:
        """Whether values are lists."""
        return self.value > 10

    @property
    def element(self) -> ValueType:
        """The type of one element: of a list's, or the type itself."""
        return ValueType(self.value - 10) if self.is_list else self

    @classmethod
    def parse(cls, value: object, *, field: str) -> ValueType:
        """Accept a member, its name in any case, or its number; refuse UNKNOWN and everything else."""
        found: ValueType | None = None
        if isinstance(value, cls):
            found = value
        elif isinstance(value, str):
            found = cls.__members__.get(value.strip().upper())
        elif isinstance(value, int) and not isinstance(value, bool):
            found = next((member for member in cls if member.value == value), None)
        if found is None or found is cls.UNKNOWN:
            names = [name for name in cls.__members__ if name != "UNKNOWN"]
            raise InvalidDefinition(
                f"{field}: {value!r} is not a valid ValueType.", field=field, hint=closest(str(value).upper(), names)
            )
        return found


class TypeNames(NamedTuple):
    """What one scalar type is called elsewhere. ``width`` is the bytes of a fixed-width value, 0 where it varies."""

    polars: str
    arrow: str
    spark: str
    bigquery: str
    struct: str
    width: int


#: Lists are the element's type wrapped in each system's own list.
TYPE_NAMES: Final[dict[ValueType, TypeNames]] = {
    ValueType.BYTES: TypeNames("Binary", "binary", "binary", "BYTES", "", 0),
    ValueType.STRING: TypeNames("String", "string", "string", "STRING", "", 0),
    ValueType.INT32: TypeNames("Int32", "int32", "int", "INT64", "i", 4),
    ValueType.INT64: TypeNames("Int64", "int64", "bigint", "INT64", "q", 8),
    ValueType.DOUBLE: TypeNames("Float64", "float64", "double", "FLOAT64", "d", 8),
    ValueType.FLOAT: TypeNames("Float32", "float32", "float", "FLOAT64", "f", 4),
    ValueType.BOOL: TypeNames("Boolean", "bool", "boolean", "BOOL", "?", 1),
    ValueType.UNIX_TIMESTAMP: TypeNames("Datetime", "timestamp[us, tz=UTC]", "timestamp", "TIMESTAMP", "q", 8),
}


@cache
def polars_type(value_type: ValueType) -> pl.DataType:
    """The Polars type of a column of this type. UNIX_TIMESTAMP is ``Datetime("us", "UTC")``."""
    import polars as pl

    element = value_type.element
    scalar: pl.DataType
    if element is ValueType.UNIX_TIMESTAMP:
        scalar = pl.Datetime("us", "UTC")
    else:
        scalar = getattr(pl, TYPE_NAMES[element].polars)()
    return pl.List(scalar) if value_type.is_list else scalar
