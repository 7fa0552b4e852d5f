"""Decoding: messages become rows with the columns of the source, or are set aside with a reason.

A message stands or falls alone: what is wrong with one never touches its neighbours. Tombstones (messages without a
value) are set aside as well, since a key without a value says nothing of a table's columns; deletions are told by the
table's deleted column.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import polars as pl

from tiffin.definitions.format import AnyStreamFormat, AvroFormat, JsonFormat, ProtoFormat
from tiffin.errors import Unsupported
from tiffin.stream.base import NO_TIMESTAMP, Message
from tiffin.types import ValueType

Writing = Literal["plain", "json"]
"""How a text stands for a value: as it is, or as JSON."""

INSTANT: Final = pl.Datetime("us", "UTC")

_TOMBSTONE: Final = "the message has no value; rows are deleted by the table's deleted column"


class Rows(NamedTuple):
    """What a reader made of values: a row for each value, and the reasons of those that must not be used.

    ``texts`` are the columns of texts that stand for values of other types.
    """

    frame: pl.DataFrame
    failed: Mapping[int, str]
    texts: Mapping[str, Writing] = {}


class Reader(Protocol):
    """Reads the values of one format."""

    def read(self, values: Sequence[bytes]) -> Rows:
        """A row for each value; those that failed have any content."""
        ...


class Decoded(NamedTuple):
    """Messages as rows.

    ``frame`` has the raw columns of the source, ``positions`` (UInt32) says which message each row came from, counted
    from 0, and ``timestamps`` is the broker's time of each, null without one. ``failed`` are the other messages with
    why. ``texts`` are columns of texts that stand for values of other types, for ``tiffin.ingest.text.Given``.
    """

    frame: pl.DataFrame
    positions: pl.Series
    timestamps: pl.Series
    failed: list[tuple[Message, str]]
    texts: Mapping[str, Writing]


class Decoder:
    """Reads messages of one format. ``created`` names a column that the broker's time fills where it is absent."""

    def __init__(self, reader: Reader, created: str = "") -> None:
        self._reader = reader
        self._created = created

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """The rows of messages, in their order. Unavailable while a schema has to be asked for and nobody answers."""
        places = [place for place, message in enumerate(messages) if message.value is not None]
        rows = self._reader.read([messages[place].value for place in places])  # type: ignore[misc]  # none is None
        reasons = {place: _TOMBSTONE for place, message in enumerate(messages) if message.value is None}
        reasons |= {places[row]: reason for row, reason in rows.failed.items()}
        positions = pl.Series("position", places, pl.UInt32)
        times = [messages[place].timestamp for place in places]
        timestamps = pl.Series("timestamp", times, pl.Int64)
        timestamps = timestamps.set(timestamps == NO_TIMESTAMP, None).cast(INSTANT)
        frame, texts = _with_created(rows, self._created, timestamps)
        if rows.failed:
            good = pl.repeat(True, len(places), eager=True).scatter(list(rows.failed), False)
            frame, positions, timestamps = frame.filter(good), positions.filter(good), timestamps.filter(good)
        failed = [(messages[place], reasons[place]) for place in sorted(reasons)]
        return Decoded(frame, positions, timestamps, failed, texts)


def decoder(
    format: AnyStreamFormat,  # noqa: A002  # the word of the definitions
    *,
    types: Mapping[str, ValueType] | None = None,
    columns: Collection[str] | None = None,
    created_column: str = "",
    options: Mapping[str, str] | None = None,
) -> Decoder:
    """The decoder of a source's message format.

    ``types`` are the declared types of raw columns, which tell how JSON is read. ``columns`` are those that will be
    used, all where it is None; a record in a record gives columns with dots in their names. A decoder fills
    ``created_column`` with the broker's time where a message lacks it. ``options`` name the schema registry.
    InvalidDefinition where the format cannot be used, Unsupported where a column among ``columns`` has no type here.
    """
    return Decoder(_reader(format, types or {}, columns, options or {}), created_column)


def _reader(
    form: AnyStreamFormat, types: Mapping[str, ValueType], columns: Collection[str] | None, options: Mapping[str, str]
) -> Reader:
    # Each format's file is read when it is used: they bring packages of their own.
    match form:
        case JsonFormat():
            from tiffin.stream.json_reader import JsonReader

            return JsonReader(types, columns)
        case AvroFormat():
            from tiffin.stream.avro import AvroReader

            return AvroReader(form.schema_json, columns, options)
        case ProtoFormat():
            from tiffin.stream.proto import open_reader

            return open_reader(form, columns)


def check_columns(columns: Collection[str] | None, refused: Mapping[str, str], what: str) -> None:
    """Raise Unsupported where a column that will be used has no type in Tiffin; ``refused`` says why."""
    for name in columns or ():
        for column, reason in refused.items():
            if name == column or name.startswith(f"{column}."):
                raise Unsupported(
                    f"Column {name!r} of {what} cannot be read: {reason}.",
                    field=name,
                    hint="Leave it out of the table, or send it in another form.",
                )


def _with_created(rows: Rows, name: str, timestamps: pl.Series) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """The frame, with the broker's time where the created column is absent or null."""
    if not name:
        return rows.frame, rows.texts
    if name not in rows.frame.columns:
        return rows.frame.with_columns(timestamps.alias(name)), rows.texts
    found = rows.frame[name]
    if not found.null_count():
        return rows.frame, rows.texts
    texts = rows.texts
    if isinstance(found.dtype, pl.Null):
        filled = timestamps
    elif isinstance(found.dtype, pl.Datetime):
        filled = found.fill_null(timestamps.cast(found.dtype))
    elif isinstance(found.dtype, pl.String) or found.dtype.is_integer():
        filled = found.cast(pl.String).fill_null(timestamps.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        texts = {**texts, name: texts.get(name, "plain")}
    else:
        return rows.frame, texts
    return rows.frame.with_columns(filled.alias(name)), texts
