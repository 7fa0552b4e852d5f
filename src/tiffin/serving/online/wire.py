"""Wire: answers as JSON, in Tiffin's own shape and in that of Feast's feature server.

In both, 64-bit integers are exact numbers, 32-bit floats are widened, NaN and infinities are the texts ``NaN``,
``Infinity`` and ``-Infinity``, byte strings are base64, and what is not PRESENT is null. Instants are whole
microseconds since 1970 in Tiffin's shape; in Feast's, values are whole seconds and event times RFC 3339.

Columns of an answer share their statuses and times, table by table. These are encoded once for all features that share
them, and then everything is encoded in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from tiffin import clock
from tiffin.errors import InvalidArgument
from tiffin.online.read import OnlineColumns, Status
from tiffin.types import ValueType

T = TypeVar("T")
Column = Sequence[Any]
Shown = Callable[[Column], Column]

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode

_SECOND: Final = 1_000_000
_FLOATS: Final = frozenset({ValueType.FLOAT, ValueType.DOUBLE})
#: Instants that RFC 3339 can say; those beyond are shown as the nearest.
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
#: Columns of up to so many rows that are all present, or all of the epoch, are kept.
_KEPT_ROWS: Final = 1_024


class _Values(msgspec.Struct):
    """One column of Feast's shape, which is one of ``results``."""

    values: Column
    statuses: Raw
    event_timestamps: Raw


class _Answer(msgspec.Struct):
    results: list[_Values]
    metadata: Raw


class _Key(msgspec.Struct):
    """One entity of Tiffin's shape."""

    name: str
    type: str
    values: Column


class _Feature(msgspec.Struct):
    """One feature of Tiffin's shape."""

    name: str
    type: str
    values: Column
    statuses: Raw
    event_timestamps: Raw


class _Rows(msgspec.Struct):
    rows: int


class _Online(msgspec.Struct):
    metadata: _Rows
    entities: list[_Key]
    features: list[_Feature]


class Cleaner:
    """Makes columns of given types what JSON can hold; most columns are it already."""

    def __init__(self, dtypes: Sequence[ValueType], *, seconds: bool) -> None:
        self._floats = [place for place, dtype in enumerate(dtypes) if dtype in _FLOATS]
        # What is looked at one by one: few answers have such columns.
        self._others: list[tuple[int, Shown]] = []
        for place, dtype in enumerate(dtypes):
            if dtype.is_list and dtype.element in _FLOATS:
                self._others.append((place, _float_lists))
            elif seconds and dtype.element is ValueType.UNIX_TIMESTAMP:
                self._others.append((place, _seconds_lists if dtype.is_list else _seconds))

    def clean(self, columns: Sequence[Column]) -> Sequence[Column]:
        """The columns themselves where nothing has to be changed."""
        changed: list[Column] | None = None
        if self._floats and not self._finite(columns):
            changed = list(columns)
            for place in self._floats:
                changed[place] = [_shown(value) for value in columns[place]]
        if self._others:
            changed = list(columns) if changed is None else changed
            for place, shown in self._others:
                changed[place] = shown(columns[place])
        return columns if changed is None else changed

    def _finite(self, columns: Sequence[Column]) -> bool:
        """Whether no float is a null, NaN or infinite: then their sum is finite, unless it overflows."""
        try:
            total = 0.0
            for place in self._floats:
                total += sum(columns[place])
        except TypeError:  # a null
            return False
        return total - total == 0


class FeastWire:
    """Answers in Feast's shape for one set of features, whose ``names`` are given as they are shown."""

    def __init__(
        self, names: Sequence[str], dtypes: Sequence[ValueType], entity_types: Mapping[str, ValueType]
    ) -> None:
        self._names = list(names)
        self._clean = Cleaner(dtypes, seconds=True).clean
        self._entity_types = entity_types
        # By the order in which a request gave its entities.
        self._ends: dict[tuple[str, ...], Raw] = {}

    def answer(self, columns: OnlineColumns) -> bytes:
        """The body of an answer: join keys in the request's order, then the features."""
        results = [
            _Values(self._keys(name, keys), _known(keys), _epochs(columns.rows))
            for name, keys in columns.entities.items()
        ]
        statuses: Any = None
        times: Any = None
        status = time = Raw()
        for values, found, events in zip(
            self._clean(columns.values), columns.statuses, columns.event_times, strict=True
        ):
            if found is not statuses:
                statuses, status = found, _statuses(found)
            if events is not times:
                times, time = events, _times(events)
            results.append(_Values(values, status, time))
        return encode(_Answer(results, self._end(tuple(columns.entities))))

    def _keys(self, name: str, keys: Column) -> Column:
        return _seconds(keys) if self._entity_types[name] is ValueType.UNIX_TIMESTAMP else keys

    def _end(self, entities: tuple[str, ...]) -> Raw:
        end = self._ends.get(entities)
        if end is None:
            if len(self._ends) > 64:
                self._ends.clear()
            end = self._ends[entities] = Raw(encode({"feature_names": [*entities, *self._names]}))
        return end


class Wire:
    """Answers in Tiffin's own shape for one set of features.

    ``{"metadata": {"rows": 1}, "entities": [{"name", "type", "values"}], "features": [{"name", "type", "values",
    "statuses", "event_timestamps"}]}``, each list of an item a row.
    """

    def __init__(
        self, names: Sequence[str], dtypes: Sequence[ValueType], entity_types: Mapping[str, ValueType]
    ) -> None:
        self._heads = [(name, dtype.name) for name, dtype in zip(names, dtypes, strict=True)]
        self._clean = Cleaner(dtypes, seconds=False).clean
        self._types = {name: dtype.name for name, dtype in entity_types.items()}

    def answer(self, columns: OnlineColumns) -> bytes:
        """The body of an answer."""
        entities = [_Key(name, self._types[name], keys) for name, keys in columns.entities.items()]
        features: list[_Feature] = []
        statuses: Any = None
        times: Any = None
        status = time = Raw()
        for (name, dtype), values, found, events in zip(
            self._heads, self._clean(columns.values), columns.statuses, columns.event_times, strict=True
        ):
            if found is not statuses:
                statuses, status = found, _statuses(found)
            if events is not times:
                times, time = events, Raw(encode(events))
            features.append(_Feature(name, dtype, values, status, time))
        return encode(_Online(_Rows(columns.rows), entities, features))


#: What helps whoever sent a body that is not what was meant.
_SHAPE: Final = "The page `The online service over HTTP` of the documentation tells what each path takes."


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body as what it should be; InvalidArgument says where it is not."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"The body of the request cannot be read: {error}.", field="body", hint=_SHAPE) from None
    except RecursionError:
        raise InvalidArgument("The body of the request is nested too deeply.", field="body", hint=_SHAPE) from None


def _shown(value: float | None) -> float | str | None:
    if value is None or value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _float_lists(values: Column) -> Column:
    return [value and [_shown(item) for item in value] for value in values]


def _seconds(values: Column) -> Column:
    return [None if value is None else value // _SECOND for value in values]


def _seconds_lists(values: Column) -> Column:
    return [value and [None if item is None else item // _SECOND for item in value] for value in values]


def _known(keys: Column) -> Raw:
    """The statuses of a column of keys: present, unless none was given."""
    if None in keys:
        return Raw(encode([Status.NULL_VALUE if key is None else Status.PRESENT for key in keys]))
    return _present(len(keys)) if len(keys) <= _KEPT_ROWS else _make_present(len(keys))


def _statuses(found: Column) -> Raw:
    count = len(found)
    if count <= _KEPT_ROWS and found.count(Status.PRESENT) == count:
        return _present(count)
    return Raw(encode(found))


def _times(events: Column) -> Raw:
    if None in events:
        if events.count(None) == len(events):
            return _epochs(len(events))
        events = [0 if event is None else event for event in events]
    try:
        return Raw(encode([clock.EPOCH + timedelta(microseconds=event) for event in events]))
    except OverflowError:
        return Raw(encode([clock.to_datetime(min(max(event, _FIRST), _LAST)) for event in events]))


def _epochs(count: int) -> Raw:
    return _few_epochs(count) if count <= _KEPT_ROWS else _make_epochs(count)


def _make_present(count: int) -> Raw:
    return Raw(encode(["PRESENT"] * count))


def _make_epochs(count: int) -> Raw:
    return Raw(encode([clock.EPOCH] * count))


# Most requests are of a few sizes.
_present = lru_cache(maxsize=64)(_make_present)
_few_epochs = lru_cache(maxsize=64)(_make_epochs)
