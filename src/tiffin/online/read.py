"""Reading: a plan compiled once from selections, and requests answered by it, a column at a time.

The statuses and their order are those of semantics, section 4. A request row may carry its own ``now`` under the
reserved name ``event_timestamp``; naive ones are UTC. Values leave here as plain data: timestamps as UTC
microseconds, nothing for a value that is not PRESENT.

A read has two halves, between which the store is asked: by :meth:`ReadPlan.read` itself, or by a server that awaits
the store's answer and asks for several requests at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from tiffin import clock
from tiffin.definitions.schema import Column, Selection
from tiffin.errors import InvalidArgument, closest
from tiffin.online.base import OnlineStore, TableId
from tiffin.online.keys import Coercion, is_null
from tiffin.online.table_read import Answer, Status, TableRead, Unlearned
from tiffin.types import ValueType

__all__ = ["NOW_FIELD", "Columns", "OnlineColumns", "PendingRead", "ReadPlan", "Rows", "Status"]

#: The name under which a request row carries the instant that it is answered for. No entity can have it.
NOW_FIELD: Final = "event_timestamp"

Rows = list[Mapping[str, Any]] | tuple[Mapping[str, Any], ...]
Columns = Mapping[str, Sequence[Any]]


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
        self._store = store
        self._tables = [TableRead(selection, list(keys)) for selection in selections]
        lone = len(self._tables) == len(self._coercions) == 1
        self._one_key = (self._tables[0], self._coercions[0]) if lone else None
        #: The tables that are read, in the order of :attr:`PendingRead.wanted`.
        self.table_ids = [table.id for table in self._tables]
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
        pending = self.begin(entities, now=now)
        read = self._store.read
        return pending.finish([read(table, keys) for table, keys in pending.wanted])

    def begin(self, entities: Rows | Columns, *, now: int | None = None) -> PendingRead:
        """The first half of :meth:`read`: what has to be read from the store, and what goes on when it has been."""
        if now is None:
            now = clock.now()
        given, times, count = self._request(entities)
        nows = now if times is None else _instants(times, now)
        if self._one_key is not None:
            # Most requests are for one entity.
            table, coercion = self._one_key
            keys = coercion.column(given[coercion.name])
            return PendingRead(self, {coercion.name: keys}, [table.encode([keys])], nows, count)
        coerced = [coercion.column(given[coercion.name]) for coercion in self._coercions]
        echo = self._echo
        encoded = [table.encode([coerced[position] for position in table.keys]) for table in self._tables]
        return PendingRead(self, {name: coerced[echo[name]] for name in given}, encoded, nows, count)

    @property
    def lone(self) -> tuple[TableRead, Coercion] | None:
        """The table and its entity, where the plan reads one table that has one entity, all in its order."""
        return self._one_key if self._one_table else None

    def learn(self) -> None:
        """Ask the store how values of the plan's tables are laid out, which blocks."""
        for table in self._tables:
            table.learn(self._store)

    def answer(self, values: Sequence[Sequence[bytes | None]], now: int | Sequence[int], count: int) -> Answer:
        """The columns of features from the values of every table, for every row of a request."""
        tables = self._tables
        if self._one_table:
            return tables[0].answer(values[0], now, count)
        parts = [table.answer(found, now, count) for table, found in zip(tables, values, strict=True)]
        places = self._places
        return (
            [parts[table][0][feature] for table, feature in places],
            [parts[table][1][feature] for table, feature in places],
            [parts[table][2][feature] for table, feature in places],
        )

    def _request(self, entities: Rows | Columns) -> tuple[dict[str, Sequence[Any]], Sequence[Any] | None, int]:
        """The needed columns of a request in its order, the rows' instants if it has any, and the number of rows."""
        if type(entities) is dict:
            return self._request_of_columns(entities)
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


class PendingRead:
    """A request whose keys are known and whose values are not yet.

    ``wanted`` is what to read from the store: a list of keys a table, in the order in which :meth:`finish` takes their
    values.
    """

    __slots__ = ("_count", "_encoded", "_entities", "_nows", "_plan", "wanted")

    def __init__(
        self,
        plan: ReadPlan,
        entities: dict[str, Sequence[Any]],
        encoded: list[list[bytes | None]],
        nows: int | Sequence[int],
        count: int,
    ) -> None:
        self._plan = plan
        self._entities = entities
        self._encoded = encoded
        self._nows = nows
        self._count = count
        #: The keys of each table's rows; rows with a null key are not asked for.
        self.wanted: list[tuple[TableId, list[bytes]]] = [
            (table, [key for key in keys if key is not None] if None in keys else keys)  # type: ignore[misc]  # no None
            for table, keys in zip(plan.table_ids, encoded, strict=True)
        ]

    def finish(self, values: Sequence[Sequence[bytes | None]]) -> OnlineColumns:
        """The answer, from the values of :attr:`wanted`. The store is asked for layouts that were not met before."""
        answer = self.attempt(values)
        if answer is not None:
            return answer
        self._plan.learn()
        try:
            return self._answer(values)
        except Unlearned as error:
            raise error.problem from None

    def attempt(self, values: Sequence[Sequence[bytes | None]]) -> OnlineColumns | None:
        """As :meth:`finish`, without asking the store: None where ``plan.learn()`` has to be called first."""
        try:
            return self._answer(values)
        except Unlearned:
            return None

    def _answer(self, values: Sequence[Sequence[bytes | None]]) -> OnlineColumns:
        plan = self._plan
        placed = [
            _placed(keys, found) if None in keys else found for keys, found in zip(self._encoded, values, strict=True)
        ]
        columns, statuses, times = plan.answer(placed, self._nows, self._count)
        return OnlineColumns(
            self._entities, plan.entity_types, plan.names, plan.dtypes, columns, statuses, times, self._count
        )


def _placed(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> list[bytes | None]:
    """Values of the keys that were asked for, with None for each that was not."""
    found = iter(values)
    return [None if key is None else next(found) for key in keys]


def _common_length(columns: Mapping[str, Sequence[Any]]) -> int:
    if len(columns) == 1:
        (column,) = columns.values()
        if type(column) is list:
            return len(column)
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
