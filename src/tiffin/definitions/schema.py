"""TableSchema: the plain data of one feature table that crosses into engines, stores and ingestion.

Backends never receive the registry, the settings or the client: what they may know of a table is here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from tiffin.definitions.expectation import AnyExpectation
from tiffin.definitions.source import AnyBatchSource
from tiffin.types import ValueType

#: Columns that Tiffin writes beside the user's: the instant of the commit (UTC microseconds) and the position in it.
INGESTED_AT_COLUMN: Final = "_ingested_at"
ROW_COLUMN: Final = "_row"

#: Names of the columns of a canonical frame beside keys and features. No definition can have such a name.
EVENT_TS: Final = "$event_ts"  # Datetime("us", "UTC"), never null once validated
CREATED_TS: Final = "$created_ts"  # Datetime("us", "UTC") or null
INGESTED_AT: Final = "$ingested_at"  # Datetime("us", "UTC") or null
ROW: Final = "$row"  # Int64 or null
DELETED: Final = "$deleted"  # Boolean, never null: the row is a tombstone
PATH: Final = "$path"  # String: the file a row without INGESTED_AT came from
POSITION: Final = "$position"  # UInt32: the row's number in that file

#: The rank of a row, least significant last (semantics, Rank); nulls are smallest.
RANK: Final = (EVENT_TS, CREATED_TS, INGESTED_AT, ROW)


class Column(msgspec.Struct, frozen=True):
    """A key or feature. ``expression`` is a column of the source, or a SQL scalar expression over its columns."""

    name: str
    dtype: ValueType
    expression: str

    @property
    def is_plain(self) -> bool:
        """Whether the expression is a bare column name (dots and spaces make it an expression)."""
        return self.expression.isidentifier()


class TableSchema(msgspec.Struct, frozen=True):
    """One feature table, resolved: entity types looked up, the source's mapping applied, the managed folder filled in.

    ``max_age`` is in microseconds, None without a limit. Column names are raw names of the source, empty where
    undeclared.
    """

    project: str
    name: str
    keys: tuple[Column, ...]
    features: tuple[Column, ...]
    source: AnyBatchSource
    max_age: int | None = None
    deleted_column: str = ""
    expectations: tuple[AnyExpectation, ...] = ()

    @property
    def event_column(self) -> str:
        """The source's column of event times."""
        return self.source.event_timestamp_column

    @property
    def created_column(self) -> str:
        """The source's column of creation times, or empty."""
        return self.source.created_timestamp_column

    @property
    def partition_column(self) -> str:
        """The source's column of event dates by which files are laid out, or empty."""
        return self.source.date_partition_column

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the entities, in the table's order."""
        return tuple(column.name for column in self.keys)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of all features, in the table's order."""
        return tuple(column.name for column in self.features)

    def label(self) -> str:
        """``project/table``, for messages."""
        return f"{self.project}/{self.name}"


class Selection(msgspec.Struct, frozen=True):
    """The features that a request takes from one table.

    ``features`` are columns of ``table``, in the order of the request. ``output`` names them in the answer.
    """

    table: TableSchema
    features: tuple[Column, ...]
    output: tuple[str, ...]


def microseconds(span: timedelta | None) -> int | None:
    """A span in microseconds, None without one."""
    return None if span is None else span // timedelta(microseconds=1)
