"""Wire: answers as JSON, in Tiffin's own shape and in that of Feast's feature server.

In both, 64-bit integers are exact numbers, 32-bit floats are widened, NaN and infinities are the texts ``NaN``,
``Infinity`` and ``-Infinity``, byte strings are base64, and what is not PRESENT is null. Instants are whole
microseconds since 1970 in Tiffin's shape; in Feast's, values are whole seconds and event times RFC 3339.

The bytes are put together by hand around columns that msgspec encodes: the columns of an answer share their statuses
and times, table by table, so that most of it is encoded once and not once a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from tiffin import clock
from tiffin.online.read import OnlineColumns, Status
from tiffin.types import ValueType

Encode = Callable[[Any], bytes]
Column = Sequence[Any]

encode: Final[Encode] = msgspec.json.Encoder().encode

_EPOCH_TEXT: Final = b'"1970-01-01T00:00:00Z"'
_SECOND: Final = 1_000_000
#: Instants that RFC 3339 can say; those beyond are shown as the nearest.
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
#: Columns of up to so many rows that are all present, or all of the epoch, are kept.
_KEPT_ROWS: Final = 1_024


def floats(values: Column) -> bytes:
    """A column of floats, in which NaN and infinities become texts."""
    try:
        total = sum(values)
        finite = total - total == 0
    except TypeError:  # nulls among them
        finite = False
    return encode(values if finite else [_shown(value) for value in values])


def float_lists(values: Column) -> bytes:
    """A column of lists of floats."""
    try:
        total = sum(map(sum, values))
        finite = total - total == 0
    except TypeError:
        finite = False
    return encode(values if finite else [value and [_shown(item) for item in value] for value in values])


def _shown(value: float | None) -> float | str | None:
    if value is None or value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _seconds(values: Column) -> bytes:
    return encode([None if value is None else value // _SECOND for value in values])


def _seconds_lists(values: Column) -> bytes:
    return encode([value and [None if item is None else item // _SECOND for item in value] for value in values])


_SPECIAL: Final[Mapping[ValueType, Encode]] = {
    ValueType.FLOAT: floats,
    ValueType.DOUBLE: floats,
    ValueType.FLOAT_LIST: float_lists,
    ValueType.DOUBLE_LIST: float_lists,
}
_FEAST_SPECIAL: Final[Mapping[ValueType, Encode]] = {
    **_SPECIAL,
    ValueType.UNIX_TIMESTAMP: _seconds,
    ValueType.UNIX_TIMESTAMP_LIST: _seconds_lists,
}


class FeastWire:
    """Answers in Feast's shape for one set of features, whose ``names`` are given as they are shown."""

    def __init__(
        self, names: Sequence[str], dtypes: Sequence[ValueType], entity_types: Mapping[str, ValueType]
    ) -> None:
        self._names = list(names)
        self._encoders = [_FEAST_SPECIAL.get(dtype, encode) for dtype in dtypes]
        self._entity_encoders = {name: _FEAST_SPECIAL.get(dtype, encode) for name, dtype in entity_types.items()}
        # By the order in which a request gave its entities.
        self._ends: dict[tuple[str, ...], bytes] = {}

    def answer(self, columns: OnlineColumns) -> bytes:
        """The body of an answer: join keys in the request's order, then the features."""
        parts: list[bytes] = []
        for name, keys in columns.entities.items():
            parts += (b'},{"values":', self._entity_encoders[name](keys), _known(keys))
        statuses: Any = None
        times: Any = None
        tail = status_part = time_part = b""
        for encoder, values, found, events in zip(
            self._encoders, columns.values, columns.statuses, columns.event_times, strict=True
        ):
            if found is not statuses or events is not times:
                if found is not statuses:
                    statuses, status_part = found, _statuses(found)
                if events is not times:
                    times, time_part = events, _times(events)
                tail = b',"statuses":' + status_part + b',"event_timestamps":' + time_part
            parts += (b'},{"values":', encoder(values), tail)
        parts[0] = b'{"results":[{"values":'
        parts.append(self._end(tuple(columns.entities)))
        return b"".join(parts)

    def _end(self, entities: tuple[str, ...]) -> bytes:
        end = self._ends.get(entities)
        if end is None:
            if len(self._ends) > 64:
                self._ends.clear()
            names = encode([*entities, *self._names])
            end = self._ends[entities] = b'}],"metadata":{"feature_names":' + names + b"}}"
        return end


class Wire:
    """Answers in Tiffin's own shape for one set of features.

    ``{"metadata": {"rows": 1}, "entities": [{"name", "type", "values"}], "features": [{"name", "type", "values",
    "statuses", "event_timestamps"}]}``, each list of an item a row.
    """

    def __init__(
        self, names: Sequence[str], dtypes: Sequence[ValueType], entity_types: Mapping[str, ValueType]
    ) -> None:
        self._heads = [_head(name, dtype) for name, dtype in zip(names, dtypes, strict=True)]
        self._encoders = [_SPECIAL.get(dtype, encode) for dtype in dtypes]
        self._entity_heads = {name: _head(name, dtype) for name, dtype in entity_types.items()}

    def answer(self, columns: OnlineColumns) -> bytes:
        """The body of an answer."""
        entities = [self._entity_heads[name] + encode(keys) + b"}" for name, keys in columns.entities.items()]
        features = []
        statuses: Any = None
        times: Any = None
        tail = b""
        for place, encoder in enumerate(self._encoders):
            found, events = columns.statuses[place], columns.event_times[place]
            if found is not statuses or events is not times:
                statuses, times = found, events
                tail = b',"statuses":' + _statuses(found) + b',"event_timestamps":' + encode(events) + b"}"
            features.append(self._heads[place] + encoder(columns.values[place]) + tail)
        return b'{"metadata":{"rows":%d},"entities":[%b],"features":[%b]}' % (
            columns.rows,
            b",".join(entities),
            b",".join(features),
        )


def _head(name: str, dtype: ValueType) -> bytes:
    return b'{"name":%b,"type":"%b","values":' % (encode(name), dtype.name.encode())


def _known(keys: Column) -> bytes:
    """The statuses and times of a column of keys: present, unless none was given, and of no time."""
    count = len(keys)
    if None in keys:
        found = [Status.NULL_VALUE if key is None else Status.PRESENT for key in keys]
        return b',"statuses":' + encode(found) + b',"event_timestamps":' + _epochs(count)
    return _present_keys(count) if count <= _KEPT_ROWS else _make_present_keys(count)


def _statuses(found: Column) -> bytes:
    count = len(found)
    if count <= _KEPT_ROWS and found.count(Status.PRESENT) == count:
        return _present(count)
    return encode(found)


def _times(events: Column) -> bytes:
    if None in events:
        if events.count(None) == len(events):
            return _epochs(len(events))
        events = [0 if event is None else event for event in events]
    try:
        return encode([clock.EPOCH + timedelta(microseconds=event) for event in events])
    except OverflowError:
        return encode([clock.to_datetime(min(max(event, _FIRST), _LAST)) for event in events])


def _make_present_keys(count: int) -> bytes:
    return b',"statuses":' + _make_present(count) + b',"event_timestamps":' + _make_epochs(count)


def _make_present(count: int) -> bytes:
    return b"[" + b",".join([b'"PRESENT"'] * count) + b"]"


def _make_epochs(count: int) -> bytes:
    return b"[" + b",".join([_EPOCH_TEXT] * count) + b"]"


def _epochs(count: int) -> bytes:
    return _few_epochs(count) if count <= _KEPT_ROWS else _make_epochs(count)


# Most requests are of a few sizes.
_present_keys = lru_cache(maxsize=64)(_make_present_keys)
_present = lru_cache(maxsize=64)(_make_present)
_few_epochs = lru_cache(maxsize=64)(_make_epochs)
