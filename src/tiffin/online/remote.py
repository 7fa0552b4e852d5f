"""Questions to the online service, and its answers as columns: the same that :class:`ReadPlan` gives in process.

JSON has fewer types than Python. What it lacks goes as text (bytes as base64, instants as RFC 3339, and what no entity
can be as its repr), and when the answer has told the entities' types, each value that was given is coerced as in
process. So a text that only looks like the right one on its way is refused here.

Answers are asked for as JSON at every size: to encode 1000 rows of 50 features and turn them into columns again takes a
ninth of the time that an Arrow stream takes, since columns here are lists of Python's values.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from tiffin import clock
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument, InvalidReference, NotFound, TiffinError, Unavailable
from tiffin.online.keys import Coercion, is_null
from tiffin.online.read import NOW_FIELD, Columns, OnlineColumns, Rows, Status
from tiffin.online.response import OnlineResponse
from tiffin.refs import FeatureRef
from tiffin.remote.answers import JSON, Answer, Service, read_as, strange
from tiffin.types import ValueType

if TYPE_CHECKING:
    from tiffin.remote.async_http import AsyncConnection
    from tiffin.remote.http import Connection

PATH: Final = "/v1/features/online"
#: Rows of one request; more are asked for in several. Services allow so many unless they are told otherwise.
ROWS_AT_ONCE: Final = 10_000

Refs = str | FeatureService | Sequence[str | FeatureRef]

_BYTES: Final = frozenset({ValueType.BYTES, ValueType.BYTES_LIST})
_FLOATS: Final = frozenset({ValueType.FLOAT, ValueType.DOUBLE, ValueType.FLOAT_LIST, ValueType.DOUBLE_LIST})
_SPECIAL_FLOATS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
#: The integers that msgspec writes.
_LEAST, _GREATEST = -(1 << 63), (1 << 64) - 1
_FINITE: Final = frozenset({float, type(None)})


class EntityColumn(msgspec.Struct):
    """The keys that the service understood."""

    name: str
    type: str
    values: list[Any]


class FeatureColumn(EntityColumn):
    """One feature of every row; instants are UTC microseconds, None where nothing was found."""

    statuses: list[Status]
    event_timestamps: list[int | None]


class AnswerMetadata(msgspec.Struct):
    """What holds for a whole answer."""

    rows: int


class OnlineAnswer(msgspec.Struct):
    """The body of an answer of the online service."""

    metadata: AnswerMetadata
    entities: list[EntityColumn]
    features: list[FeatureColumn]

    @property
    def shape(self) -> list[tuple[str, str]]:
        """The names and types of its columns."""
        return [(column.name, column.type) for column in self._columns]

    @property
    def _columns(self) -> list[EntityColumn]:
        return [*self.entities, *self.features]

    def decode(self) -> None:
        """Turn values into what their types have; ValueError where the columns are not what they claim to be."""
        columns: list[list[Any]] = []
        for column in self._columns:
            dtype = ValueType.__members__.get(column.type)
            if dtype is None:
                raise ValueError(column.type)
            column.values = _decoded(dtype, column.values)
            columns.append(column.values)
        for feature in self.features:
            columns += (feature.statuses, feature.event_timestamps)
        if any(len(column) != self.metadata.rows for column in columns):
            raise ValueError(self.metadata.rows)


class Question:
    """One request of a caller: the bodies that ask it, and what was given, to be coerced when types are known."""

    def __init__(self, refs: Refs, entities: Rows | Columns, project: str) -> None:
        self._head = {"project": project, **_asked(refs)}
        self._given: dict[str, list[Any]] = {}
        self._rows: list[dict[str, Any]] | None = None
        # Columns that are no lists, which only matter where they are needed.
        self._odd: dict[str, Any] = {}
        if isinstance(entities, list | tuple):
            self._take_rows(entities)
        elif isinstance(entities, Mapping):
            for name, column in entities.items():
                if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__"):
                    self._odd[str(name)] = column
                else:
                    self._given[str(name)] = list(column)
        else:
            raise InvalidArgument(
                f"entity_rows must be a list of mappings, got {type(entities).__name__}.", field="entity_rows"
            )

    def bodies(self) -> Iterator[bytes]:
        """The bodies of the requests, one for up to ROWS_AT_ONCE rows."""
        if self._rows is not None:
            yield self._encoded({"entity_rows": self._rows})
            return
        columns = {name: _told(name, column) for name, column in self._given.items()}
        lengths = {len(column) for column in columns.values()}
        count = max(lengths, default=0)
        if len(lengths) > 1 or count <= ROWS_AT_ONCE:
            yield self._encoded({"entities": columns})
            return
        for first in range(0, count, ROWS_AT_ONCE):
            part = {name: column[first : first + ROWS_AT_ONCE] for name, column in columns.items()}
            yield self._encoded({"entities": part})

    def answered(self, answers: Sequence[OnlineAnswer]) -> OnlineColumns:
        """The answers to all bodies as one; InvalidArgument where a value is not of its entity's type."""
        first = answers[0]
        if any(answer.shape != first.shape for answer in answers):
            raise Unavailable("The definitions changed while the rows were read.", hint="Try again.")
        types = {column.name: ValueType[column.type] for column in first.entities}
        entities: dict[str, Sequence[Any]] = {
            name: Coercion(Column(name, dtype, name)).column(self._given[name])
            if name in self._given
            else _joined(answer.entities[place].values for answer in answers)
            for place, (name, dtype) in enumerate(types.items())
        }
        features = list(zip(*(answer.features for answer in answers), strict=True))
        return OnlineColumns(
            entities=entities,
            entity_types=types,
            names=tuple(column.name for column in first.features),
            dtypes=tuple(ValueType[column.type] for column in first.features),
            values=[_joined(part.values for part in parts) for parts in features],
            statuses=[_joined(part.statuses for part in parts) for parts in features],
            event_times=[_joined(part.event_timestamps for part in parts) for parts in features],
            rows=sum(answer.metadata.rows for answer in answers),
        )

    def objection(self, error: TiffinError) -> TiffinError:
        """An error of the service, in the words for what was given here."""
        if isinstance(error, InvalidArgument) and error.field in self._odd:
            return InvalidArgument(
                f"{error.field} must be a list of values, one a row, got {self._odd[error.field]!r}.",
                field=error.field,
                hint="Put it in brackets.",
            )
        if isinstance(error, NotFound) and error.field == "feature_service":
            error.field = "name"  # as where no service is between
        return error

    def _take_rows(self, rows: Sequence[Any]) -> None:
        for row in rows:
            if not isinstance(row, Mapping):
                raise InvalidArgument(f"An entity row must be a mapping, got {row!r}.", field="entity_rows")
        if not rows:
            self._rows = []
            return
        names = [name for name in rows[0] if isinstance(name, str) and name != NOW_FIELD]
        if all(name in row for row in rows for name in names):
            self._given = {name: [row[name] for row in rows] for name in names}
            if any(NOW_FIELD in row for row in rows):
                self._given[NOW_FIELD] = [row.get(NOW_FIELD) for row in rows]
            return
        # Some name is missing from some row. Whether it is needed, only the service can tell.
        self._rows = [{str(name): _told(str(name), [value])[0] for name, value in row.items()} for row in rows]

    def _encoded(self, entities: Mapping[str, Any]) -> bytes:
        try:
            return msgspec.json.encode({**self._head, **entities})
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"The key {error.object!r} is not a Unicode text: {error.reason}.", field=self._field_of(error.object)
            ) from None

    def _field_of(self, value: object) -> str | None:
        """The name of the entity that was given a value."""
        return next((name for name, column in self._given.items() if value in column), None)


class RemoteReader:
    """Asks a service from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, refs: Refs, entities: Rows | Columns, project: str) -> OnlineResponse:
        """Answer one request."""
        connection = self._connection
        question = Question(refs, entities, project)
        answers = []
        for body in question.bodies():
            answer = connection.exchange("POST", PATH, body=body, body_type=JSON, retry=True)
            answers.append(_read(connection.service, answer, question))
        return OnlineResponse(question.answered(answers))


class AsyncRemoteReader:
    """Asks a service from event loops."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def read(self, refs: Refs, entities: Rows | Columns, project: str) -> OnlineResponse:
        """Answer one request."""
        connection = self._connection
        question = Question(refs, entities, project)
        answers = []
        for body in question.bodies():
            answer = await connection.exchange("POST", PATH, body=body, body_type=JSON, retry=True)
            answers.append(_read(connection.service, answer, question))
        return OnlineResponse(question.answered(answers))


def _read(service: Service, answer: Answer, question: Question) -> OnlineAnswer:
    try:
        found = read_as(service, answer, OnlineAnswer)
        found.decode()
    except (InvalidArgument, NotFound) as error:
        raise question.objection(error) from None
    except ValueError as error:
        raise strange(service, answer) from error
    return found


def _asked(refs: Refs) -> dict[str, Any]:
    """What is asked for, in the words of the service."""
    if isinstance(refs, str):
        return {"features": [refs]} if ":" in refs else {"feature_service": refs}
    wanted = refs.refs if isinstance(refs, FeatureService) else list(refs)
    if not wanted:
        raise InvalidReference("No features were asked for.", field="features", hint="Name at least one.")
    return {"features": [str(ref if isinstance(ref, FeatureRef) else FeatureRef.from_str(ref)) for ref in wanted]}


def _told(name: str, column: list[Any]) -> list[Any]:
    """A column of a caller's values as JSON can hold them."""
    if name == NOW_FIELD:
        return [None if is_null(value) else clock.to_iso(clock.to_micros(value, field=name)) for value in column]
    if set(map(type, column)) <= {str}:
        return column
    return [_plain(value) for value in column]


def _plain(value: Any) -> Any:
    if is_null(value):
        return None
    match value:
        case str():
            return str(value)
        case bool() | np.bool_():
            return bool(value)
        case int() | np.integer():
            return int(value) if _LEAST <= value <= _GREATEST else str(value)
        case float() | np.floating():
            return float(value) if np.isfinite(value) else repr(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case np.datetime64():
            return str(value.astype("datetime64[us]"))
        case datetime() | date():
            return value.isoformat()
    return repr(value)


def _joined(parts: Iterable[list[Any]]) -> list[Any]:
    first, *rest = parts
    return [*first, *(item for part in rest for item in part)] if rest else first


def _decoded(dtype: ValueType, values: list[Any]) -> list[Any]:
    """A column as its type has it: JSON has neither bytes nor all floats."""
    one: Callable[[str], Any]
    if dtype in _BYTES:
        one = _bytes
    elif dtype in _FLOATS and not _FINITE.issuperset(map(type, values)):
        one = _special
    else:
        return values
    if dtype.is_list:
        return [None if items is None else [_restored(one, item) for item in items] for items in values]
    return [_restored(one, value) for value in values]


def _restored(one: Callable[[str], Any], value: Any) -> Any:
    return one(value) if type(value) is str else value


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _special(text: str) -> float:
    if text not in _SPECIAL_FLOATS:
        raise ValueError(text)
    return _SPECIAL_FLOATS[text]
