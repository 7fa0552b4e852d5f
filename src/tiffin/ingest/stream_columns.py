"""The columns of a stream and those of the history that its rows land in (semantics, section 1).

Both sources of a table map its keys and features to raw columns of their own. Rows are stored under those of the batch
source: a column that both map alike passes as it is, else its value goes to the column that the batch source reads.
"""

from __future__ import annotations

from typing import Final

import msgspec
import polars as pl

from tiffin.definitions.schema import Column, TableSchema
from tiffin.definitions.source import KafkaSource
from tiffin.errors import InvalidDefinition
from tiffin.ingest.text import Given, Writing
from tiffin.offline.columns import needed
from tiffin.offline.mapping import columns_read, is_bare, is_expression, value_of

_EVENT: Final = "the event time"
_CREATED: Final = "the creation time"


class Feed(msgspec.Struct, frozen=True):
    """What a stream's job brings in: from which source to which table, and whether its history takes part."""

    table: TableSchema
    source: KafkaSource
    to_offline: bool = True

    @property
    def as_read(self) -> TableSchema:
        """The table as the stream's messages have it. A creation time that they lack comes under the history's name."""
        stream, batch = self.source, self.table.source
        return msgspec.structs.replace(
            self.table,
            keys=tuple(map(self._read, self.table.keys)),
            features=tuple(map(self._read, self.table.features)),
            source=msgspec.structs.replace(
                batch,
                event_timestamp_column=stream.event_timestamp_column,
                created_timestamp_column=stream.created_timestamp_column or batch.created_timestamp_column,
                date_partition_column="",
                field_mapping=dict(stream.field_mapping),
            ),
        )

    def _read(self, column: Column) -> Column:
        expression = self.source.field_mapping.get(column.name, column.name)
        return msgspec.structs.replace(column, expression=expression)


def columns_wanted(table: TableSchema) -> set[str]:
    """The raw columns that messages of a table, as they are read, may have a use for."""
    wanted, optional = needed(table, table.features, ())
    return wanted | optional


def completed(table: TableSchema, given: Given) -> Given:
    """Rows with all columns that a table is read from: one that no message of a batch has is null in all of them."""
    wanted, _ = needed(table, table.features, given.frame.columns)
    missing = sorted(wanted - set(given.frame.columns))
    frame = given.frame.with_columns([pl.lit(None).alias(name) for name in missing]) if missing else given.frame
    return Given(frame, given.texts)


class Translation:
    """From the columns of a stream's messages to those of the history; InvalidDefinition where there is none."""

    def __init__(self, feed: Feed) -> None:
        self._table = feed.as_read
        self._moved: dict[str, Column] = {}
        batch = feed.table
        kept: set[str] = set()
        for read, stored in zip(
            (*self._table.keys, *self._table.features), (*batch.keys, *batch.features), strict=True
        ):
            if read.expression == stored.expression and not is_bare(stored, ()) and is_expression(stored):
                kept.update(columns_read(batch, stored, ()))
                continue
            if not is_bare(stored, ()) and is_expression(stored):
                raise InvalidDefinition(
                    f"{batch.label()}: {stored.name!r} is computed in the history, as {stored.expression!r}, and "
                    f"{read.expression!r} in the stream: its value cannot be stored.",
                    field="field_mapping",
                    hint="Map it alike in both sources, or store it in a column of its own, or set to_offline=False.",
                )
            self._move(stored.expression, read)
        self._move(batch.event_column, Column(_EVENT, self._table.keys[0].dtype, self._table.event_column))
        if batch.created_column:
            self._move(batch.created_column, Column(_CREATED, self._table.keys[0].dtype, self._table.created_column))
        for name in kept & self._moved.keys():
            if self._moved[name].expression != name:
                raise self._torn(name, self._moved[name].expression, name)
        self._moved = {name: column for name, column in self._moved.items() if column.expression != name}

    def __call__(self, given: Given) -> Given:
        """The rows under the names of the history; columns that nothing maps stay."""
        if not self._moved:
            return given
        names = given.frame.columns
        values = [value_of(self._table, column, names).alias(name) for name, column in self._moved.items()]
        texts: dict[str, Writing] = {name: how for name, how in given.texts.items() if name not in self._moved}
        for name, column in self._moved.items():
            if column.expression in given.texts:
                texts[name] = given.texts[column.expression]
        return Given(given.frame.with_columns(values), texts)

    def _move(self, name: str, column: Column) -> None:
        other = self._moved.setdefault(name, column)
        if other.expression != column.expression:
            raise self._torn(name, other.expression, column.expression)

    def _torn(self, name: str, one: str, other: str) -> InvalidDefinition:
        return InvalidDefinition(
            f"{self._table.label()}: the column {name!r} of the history would hold both {one!r} and {other!r} of the "
            "stream.",
            field="field_mapping",
            hint="Give each key and feature a column of its own in the batch source.",
        )


__all__ = ["Feed", "Translation", "columns_wanted", "completed"]
