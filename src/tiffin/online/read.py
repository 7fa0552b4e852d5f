"""Reading: a plan compiled once from selections, and requests answered by it, a column at a time.

The statuses and their order are those of semantics, section 4. A request row may carry its own ``now`` under the
reserved name ``event_timestamp``; naive ones are UTC. Values leave here as plain data: timestamps as UTC
microseconds, nothing for a value that is not PRESENT.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from tiffin import clock
from tiffin.definitions.schema import Column, Selection
from tiffin.errors import CorruptData, InvalidArgument, closest
from tiffin.online.base import RANK_BYTES, OnlineStore, TableId
from tiffin.online.decode import Decoder
from tiffin.online.keys import Coercion, KeyEncoder, is_null
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


Answer = tuple[list[Sequence[Any]], list[Sequence[Status]], list[Sequence[int | None]]]
"""Values, statuses and event times, a column a feature each."""


class ReadPlan:
    """A request's features, resolved: what is the same for every call that asks for them.

    ``columns`` are the names of the answer's features in the order of the request; by default the selections' outputs
    one after the other. A plan belongs to one store, learns its layouts as it meets them, and may be used by several
    threads.
    """

    def __init__(
        self, store: OnlineStore, selections: Sequence[Selection], columns: Sequence[str] | None = None
    ) -> None:
        keys: dict[tuple[str, ValueType], Column] = {}
        for selection in selections:
            keys.update(((column.name, column.dtype), column) for column in selection.table.keys)
        self._coercions = [Coercion(column) for column in keys.values()]
        #: The types of the entities that a request must give, by name.
        self.entity_types = {column.name: column.dtype for column in keys.values()}
        self._echo = {name: position for position, (name, _) in enumerate(keys)}
        self._tables = [_TableRead(store, selection, list(keys)) for selection in selections]
        places = {
            output: (table, feature)
            for table, selection in enumerate(selections)
            for feature, output in enumerate(selection.output)
        }
        #: The names of the answer's features, in its order.
        self.names = tuple(places if columns is None else dict.fromkeys(columns))
        unknown = [name for name in self.names if name not in places]
        if unknown:
            raise InvalidArgument(
                f"No selection yields the column {unknown[0]!r}.", field="features", hint=closest(unknown[0], places)
            )
        self._places = [places[name] for name in self.names]
        self._one_table = len(selections) == 1 and list(self.names) == list(places)
        self.dtypes = tuple(selections[table].features[feature].dtype for table, feature in self._places)

    def read(self, entities: Rows | Columns, *, now: int | None = None) -> OnlineColumns:
        """Answer a request of rows, or of columns of equal length; ``now`` in UTC microseconds, by default the clock.

        InvalidArgument where an entity of a table is missing or has a value that is not of its type.
        """
        if now is None:
            now = clock.now()
        given, times, count = self._request(entities)
        nows = now if times is None else _instants(times, now)
        coerced = [coercion.column(given[coercion.name]) for coercion in self._coercions]
        parts = [table.read([coerced[position] for position in table.keys], nows, count) for table in self._tables]
        if self._one_table:
            values, statuses, events = parts[0]
        else:
            values = [parts[table][0][feature] for table, feature in self._places]
            statuses = [parts[table][1][feature] for table, feature in self._places]
            events = [parts[table][2][feature] for table, feature in self._places]
        echo = self._echo
        return OnlineColumns(
            entities={name: coerced[echo[name]] for name in given},
            entity_types=self.entity_types,
            names=self.names,
            dtypes=self.dtypes,
            values=values,
            statuses=statuses,
            event_times=events,
            rows=count,
        )

    def _request(self, entities: Rows | Columns) -> tuple[dict[str, Sequence[Any]], Sequence[Any] | None, int]:
        """The needed columns of a request in its order, the rows' instants if it has any, and the number of rows."""
        if isinstance(entities, list | tuple):
            return self._request_of_rows(entities)
        if isinstance(entities, Mapping):
            return self._request_of_columns(entities)
        raise InvalidArgument(
            f"entity_rows must be a list of mappings, got {type(entities).__name__}.", field="entity_rows"
        )

    def _request_of_rows(self, rows: Rows) -> tuple[dict[str, Sequence[Any]], Sequence[Any] | None, int]:
        needed = self._echo
        if not rows:
            return dict.fromkeys(needed, ()), None, 0
        first = rows[0]
        if len(rows) == 1 and type(first) is dict:
            # Most requests are one row.
            one: dict[str, Sequence[Any]] = {name: (first[name],) for name in first if name in needed}
            if len(one) < len(needed):
                self._raise_missing(first)
            return one, (first[NOW_FIELD],) if NOW_FIELD in first else None, 1
        if set(map(type, rows)) != {dict}:
            for row in rows:
                if not isinstance(row, Mapping):
                    raise InvalidArgument(f"An entity row must be a mapping, got {row!r}.", field="entity_rows")
        names = [name for name in first if name in needed]
        if len(names) < len(needed):
            self._raise_missing(first)
        try:
            given: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in names}
        except KeyError:
            self._raise_missing(next(row for row in rows if not needed.keys() <= row.keys()))
        times = [row.get(NOW_FIELD) for row in rows] if any(NOW_FIELD in row for row in rows) else None
        return given, times, len(rows)

    def _request_of_columns(self, columns: Columns) -> tuple[dict[str, Sequence[Any]], Sequence[Any] | None, int]:
        given = {name: columns[name] for name in columns if name in self._echo}
        if len(given) < len(self._echo):
            self._raise_missing(columns)
        times = columns.get(NOW_FIELD)
        count = _common_length(given if times is None else {**given, NOW_FIELD: times})
        return given, times, count

    def _raise_missing(self, found: Mapping[str, Any]) -> NoReturn:
        name = next(name for name in self._echo if name not in found)
        position = self._echo[name]
        table = next(table.label for table in self._tables if position in table.keys)
        raise InvalidArgument(
            f"Entity {name!r} of {table} is missing from the request, which has {sorted(map(str, found))}.",
            field=name,
            hint="Give every entity of every table asked for; None where it is not known.",
        )


class _TableRead:
    """What a plan reads from one table. ``keys`` are the positions of its entities among the plan's."""

    def __init__(self, store: OnlineStore, selection: Selection, keys: list[tuple[str, ValueType]]) -> None:
        table = selection.table
        encoder = KeyEncoder(table.keys)
        types = {column.name: column.dtype for column in table.keys}
        self.keys = [keys.index((name, types[name])) for name in encoder.names]
        self.label = table.label()
        self._id = TableId(table.project, table.name)
        self._store = store
        self._encode = encoder.encode
        self._features = selection.features
        self._max_age = table.max_age or None
        # By header, so that one look-up tells format, tombstone and layout; None for a tombstone.
        self._decoders: dict[bytes, Decoder | None] = {}

    def read(self, keys: Sequence[Sequence[Any]], now: int | Sequence[int], count: int) -> Answer:
        """The answer for ``count`` rows of coerced keys."""
        encoded = self._encode(keys)
        if None in encoded:
            found = iter(self._store.read(self._id, [key for key in encoded if key is not None]))
            values = [None if key is None else next(found) for key in encoded]
        else:
            values = self._store.read(self._id, encoded)  # type: ignore[arg-type]  # no key is None, tested above
        heads = [value and value[RANK_BYTES:HEADER_END] for value in values]
        head = heads[0] if count else None
        if head is not None and heads.count(head) == count:
            decoder = self._decoder(head)
            if decoder is not None:
                return self._answer(decoder, values, now)  # type: ignore[arg-type]  # every value has a head
        return self._scattered(heads, values, now, count)

    def _decoder(self, head: bytes) -> Decoder | None:
        try:
            return self._decoders[head]
        except KeyError:
            decoder = self._decoders[head] = self._learn(head)
            return decoder

    def _learn(self, head: bytes) -> Decoder | None:
        """The decoder for a header that was not met before, from the store's layouts as they are now."""
        number = layout_number(head)
        if head[1] & TOMBSTONE:
            return None
        layouts = self._store.layouts(self._id)
        if number >= len(layouts):
            raise CorruptData(
                f"A row of {self.label} has layout {number}, the online store knows {len(layouts)}.",
                hint="Materialize the table again.",
            )
        return Decoder(Layout.from_bytes(layouts[number]), self._features)

    def _answer(self, decoder: Decoder, values: Sequence[bytes], now: int | Sequence[int]) -> Answer:
        """The answer from values of one layout, none of them missing."""
        events, columns, nulls = decoder.columns(values)
        count = len(events)
        present = [Status.PRESENT] * count
        expired = self._expired(events, now)
        if nulls is None and not expired and decoder.complete:
            width = len(columns)
            return columns, [present] * width, [events] * width  # type: ignore[return-value]  # complete: none is None
        answer: Answer = [], [], []
        for position, column in enumerate(columns):
            shown, statuses, times = _nothing(count)
            if column is not None:
                shown, statuses = _marked(column, present, nulls[position] if nulls else [], expired)
                times = events
            answer[0].append(shown)
            answer[1].append(statuses)
            answer[2].append(times)
        return answer

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
    ) -> Answer:
        """The answer where rows are missing, deleted, or of several layouts: each group's, put into its rows."""
        groups: dict[bytes, list[int]] = {}
        for row, head in enumerate(heads):
            if head is not None:
                groups.setdefault(head, []).append(row)
        merged: list[list[list[Any]]] = [[list(part) for _ in self._features] for part in _nothing(count)]
        for head, rows in groups.items():
            decoder = self._decoder(head)
            if decoder is None:
                continue
            nows = now if isinstance(now, int) else [now[row] for row in rows]
            group: list[bytes] = [values[row] for row in rows]  # type: ignore[misc]  # rows with a head have a value
            parts: tuple[list[Sequence[Any]], ...] = self._answer(decoder, group, nows)
            for target, part in zip(merged, parts, strict=True):
                for into, column in zip(target, part, strict=True):
                    for row, item in zip(rows, column, strict=True):
                        into[row] = item
        return tuple(merged)  # type: ignore[return-value]  # the three of _nothing


def _marked(
    column: Sequence[Any], present: list[Status], nulls: list[int], expired: list[int]
) -> tuple[Sequence[Any], Sequence[Status]]:
    """A column and its statuses, where nulls are None already and expired rows become so."""
    if not nulls and not expired:
        return column, present
    statuses = present.copy()
    for row in nulls:
        statuses[row] = Status.NULL_VALUE
    if not expired:
        return column, statuses
    shown = list(column)
    for row in expired:
        statuses[row] = Status.OUTSIDE_MAX_AGE
        shown[row] = None
    return shown, statuses


def _nothing(count: int) -> tuple[Sequence[Any], Sequence[Status], Sequence[int | None]]:
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
