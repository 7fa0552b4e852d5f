"""Reading: a plan compiled once from selections, and requests answered by it, a column at a time.

The statuses and their order are those of semantics, section 4. A request row may carry its own ``now`` under the
reserved name ``event_timestamp``; naive ones are UTC. Values leave here as plain data: timestamps as UTC
microseconds, nothing for a value that is not PRESENT.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tiffin import clock
from tiffin.definitions.schema import Column, Selection
from tiffin.errors import CorruptData, InvalidArgument, closest
from tiffin.online.base import RANK_BYTES, OnlineStore, TableId
from tiffin.online.decode import Decoder
from tiffin.online.keys import KeyEncoder, coerce, is_null
from tiffin.online.layout import HEADER_END, TOMBSTONE, Layout, layout_number
from tiffin.types import ValueType

#: The name under which a request row carries the instant that it is answered for. No entity can have it.
NOW_FIELD: Final = "event_timestamp"

Rows = list[Mapping[str, Any]] | tuple[Mapping[str, Any], ...]
Columns = Mapping[str, Sequence[Any]]


class Status(enum.StrEnum):
    """What is known of one feature of one row."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


class OnlineColumns(msgspec.Struct):
    """An answer as columns of equal length, in the request's order of rows and of features.

    ``entities`` are the keys that the tables needed, coerced. ``values``, ``statuses`` and ``event_times`` (UTC
    microseconds, None where nothing was found) have an item a feature. Columns may be one shared object: copy
    before changing.
    """

    entities: dict[str, Sequence[Any]]
    entity_types: dict[str, ValueType]
    names: tuple[str, ...]
    dtypes: tuple[ValueType, ...]
    values: list[Sequence[Any]]
    statuses: list[Sequence[Status]]
    event_times: list[Sequence[int | None]]
    rows: int


Answer = tuple[Sequence[Any], Sequence[Status], Sequence[int | None]]
"""One feature's values, statuses and event times."""


class ReadPlan:
    """A request's features, resolved: what is the same for every call that asks for them.

    ``columns`` are the names of the answer's features in the order of the request; by default the selections' outputs
    one after the other. A plan belongs to one store, learns its layouts as it meets them, and may be used by several
    threads.
    """

    def __init__(
        self, store: OnlineStore, selections: Sequence[Selection], columns: Sequence[str] | None = None
    ) -> None:
        self._tables = [_TableRead(store, selection) for selection in selections]
        dtypes = {
            output: feature.dtype
            for selection in selections
            for output, feature in zip(selection.output, selection.features, strict=True)
        }
        self.names = tuple(dict.fromkeys(columns)) if columns is not None else tuple(dtypes)
        unknown = [name for name in self.names if name not in dtypes]
        if unknown:
            raise InvalidArgument(
                f"No selection yields the column {unknown[0]!r}.", field="features", hint=closest(unknown[0], dtypes)
            )
        self.dtypes = tuple(dtypes[name] for name in self.names)
        self.entities: dict[str, Column] = {
            column.name: column for selection in selections for column in selection.table.keys
        }

    def read(self, entities: Rows | Columns, *, now: int | None = None) -> OnlineColumns:
        """Answer a request of rows, or of columns of equal length; ``now`` in UTC microseconds, by default the clock.

        InvalidArgument where an entity of a table is missing or has a value that is not of its type.
        """
        given, count = self._columns(entities)
        server_now = clock.now() if now is None else now
        nows = _instants(given[NOW_FIELD], server_now) if NOW_FIELD in given else server_now
        coerced: dict[tuple[str, ValueType], list[Any]] = {}
        answers: dict[str, Answer] = {}
        for table in self._tables:
            keys = []
            for column in table.keys:
                known = coerced.get((column.name, column.dtype))
                if known is None:
                    known = coerced[column.name, column.dtype] = coerce(given[column.name], column)
                keys.append(known)
            answers.update(zip(table.output, table.read(keys, nows, count), strict=True))
        chosen = [answers[name] for name in self.names]
        types = {name: self.entities[name].dtype for name in given if name != NOW_FIELD}
        return OnlineColumns(
            entities={name: coerced[name, dtype] for name, dtype in types.items()},
            entity_types=types,
            names=self.names,
            dtypes=self.dtypes,
            values=[answer[0] for answer in chosen],
            statuses=[answer[1] for answer in chosen],
            event_times=[answer[2] for answer in chosen],
            rows=count,
        )

    def _columns(self, entities: Rows | Columns) -> tuple[dict[str, Sequence[Any]], int]:
        """The needed columns of a request, in its order, and the number of rows."""
        needed = self.entities
        if isinstance(entities, Mapping):
            given = {name: entities[name] for name in entities if name in needed or name == NOW_FIELD}
            self._check_complete(given, entities)
            count = _common_length(given)
            return given, count
        if not isinstance(entities, list | tuple):
            raise InvalidArgument(
                f"entity_rows must be a list of mappings, got {type(entities).__name__}.", field="entity_rows"
            )
        if not entities:
            return dict.fromkeys(needed, ()), 0
        for row in entities:
            if not isinstance(row, Mapping):
                raise InvalidArgument(f"An entity row must be a mapping, got {row!r}.", field="entity_rows")
        names = [name for name in entities[0] if name in needed]
        if len(names) < len(needed):
            self._check_complete(names, entities[0])
        try:
            given = {name: [row[name] for row in entities] for name in names}
        except KeyError:
            for row in entities:
                self._check_complete([name for name in needed if name in row], row)
            raise
        if any(NOW_FIELD in row for row in entities):
            given[NOW_FIELD] = [row.get(NOW_FIELD) for row in entities]
        return given, len(entities)

    def _check_complete(self, names: Sequence[str] | Mapping[str, Any], found: Mapping[str, Any]) -> None:
        for name, column in self.entities.items():
            if name not in names:
                table = next(t.label for t in self._tables if column.name in {c.name for c in t.keys})
                raise InvalidArgument(
                    f"Entity {name!r} of {table} is missing from the request, which has {sorted(map(str, found))}.",
                    field=name,
                    hint="Give every entity of every table asked for; None where it is not known.",
                )


class _TableRead:
    """What a plan reads from one table."""

    def __init__(self, store: OnlineStore, selection: Selection) -> None:
        encoder = KeyEncoder(selection.table.keys)
        by_name = {column.name: column for column in selection.table.keys}
        self.keys = tuple(by_name[name] for name in encoder.names)
        self.output = selection.output
        self.label = selection.table.label()
        self._id = TableId(selection.table.project, selection.table.name)
        self._store = store
        self._encode = encoder.encode
        self._features = selection.features
        self._max_age = selection.table.max_age or None
        # By header, so that one look-up tells format, tombstone and layout; None for a tombstone.
        self._decoders: dict[bytes, Decoder | None] = {}

    def read(self, keys: Sequence[Sequence[Any]], now: int | Sequence[int], count: int) -> Sequence[Answer]:
        """An answer a feature, for ``count`` rows of coerced keys."""
        encoded = self._encode(keys)
        if None in encoded:
            found = self._store.read(self._id, [key for key in encoded if key is not None])
            rest = iter(found)
            values = [None if key is None else next(rest) for key in encoded]
        else:
            values = self._store.read(self._id, encoded)  # type: ignore[arg-type]  # no key is None, tested above
        heads = [value and value[RANK_BYTES:HEADER_END] for value in values]
        first = heads[0] if heads else None
        if first is not None and heads.count(first) == count:
            decoder = self._decoder(first)
            if decoder is not None:
                return self._answers(decoder, values, now)  # type: ignore[arg-type]  # every value has a head
        return self._scattered(heads, values, now, count)

    def _decoder(self, head: bytes) -> Decoder | None:
        try:
            return self._decoders[head]
        except KeyError:
            return self._learn(head)

    def _learn(self, head: bytes) -> Decoder | None:
        """Compile the decoder for a header that was not met before, looking at the store's layouts again."""
        number = layout_number(head)
        if head[1] & TOMBSTONE:
            decoder = None
        else:
            layouts = self._store.layouts(self._id)
            if number >= len(layouts):
                raise CorruptData(
                    f"A row of {self.label} has layout {number}, the online store knows {len(layouts)}.",
                    hint="Materialize the table again.",
                )
            decoder = Decoder(Layout.from_bytes(layouts[number]), self._features)
        self._decoders[head] = decoder
        return decoder

    def _answers(self, decoder: Decoder, values: Sequence[bytes], now: int | Sequence[int]) -> list[Answer]:
        """The answers from values of one layout, none of them missing."""
        events, columns, nulls = decoder.columns(values)
        count = len(events)
        expired = self._expired(events, now)
        present = [Status.PRESENT] * count
        answers: list[Answer] = []
        for column, empty in zip(columns, nulls, strict=True):
            if column is None:
                answers.append(_nothing(count))
                continue
            if empty is None and not expired:
                answers.append((column, present, events))
                continue
            statuses = present.copy()
            for row in empty or ():
                statuses[row] = Status.NULL_VALUE
            shown = list(column) if expired else column
            for row in expired:
                statuses[row] = Status.OUTSIDE_MAX_AGE
                shown[row] = None  # type: ignore[index]  # a list where rows expired
            answers.append((shown, statuses, events))
        return answers

    def _expired(self, events: list[int], now: int | Sequence[int]) -> list[int]:
        """The rows whose age is more than the table's max age; an age of exactly that is not."""
        if self._max_age is None:
            return []
        if isinstance(now, int):
            oldest = now - self._max_age
            return [row for row, event in enumerate(events) if event < oldest] if min(events) < oldest else []
        return [row for row, event in enumerate(events) if now[row] - event > self._max_age]

    def _scattered(
        self, heads: Sequence[bytes | None], values: Sequence[bytes | None], now: int | Sequence[int], count: int
    ) -> list[Answer]:
        """The answers where rows are missing, deleted, or of several layouts: each group's, put into its rows."""
        groups: dict[bytes, list[int]] = {}
        for row, head in enumerate(heads):
            if head is not None:
                groups.setdefault(head, []).append(row)
        merged = [tuple(map(list, _nothing(count))) for _ in self._features]
        for head, rows in groups.items():
            decoder = self._decoder(head)
            if decoder is None:
                continue
            nows = now if isinstance(now, int) else [now[row] for row in rows]
            group: list[bytes] = [values[row] for row in rows]  # type: ignore[misc]  # rows with a head have a value
            for target, answer in zip(merged, self._answers(decoder, group, nows), strict=True):
                for into, part in zip(target, answer, strict=True):
                    for row, item in zip(rows, part, strict=True):
                        into[row] = item
        return merged  # type: ignore[return-value]  # each is a tuple of three lists


def _nothing(count: int) -> Answer:
    missing = [None] * count
    return missing, [Status.NOT_FOUND] * count, missing


def _common_length(columns: Mapping[str, Sequence[Any]]) -> int:
    lengths = {}
    for name, column in columns.items():
        if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
            raise InvalidArgument(
                f"{name} must be a list of values, one a row, got {column!r}.", field=name, hint="Put it in brackets."
            )
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise InvalidArgument(f"The columns of a request must be of equal length, got {lengths}.", field="entities")
    return next(iter(lengths.values()))


def _instants(given: Sequence[Any], now: int) -> list[int]:
    return [now if is_null(value) else clock.to_micros(value, field=NOW_FIELD) for value in given]
