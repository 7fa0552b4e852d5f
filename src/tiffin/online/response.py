"""OnlineResponse: an answer of the online store in the shapes that callers want."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiffin import clock
from tiffin.errors import InvalidArgument, MissingDependency
from tiffin.online.read import OnlineColumns, Status
from tiffin.types import ValueType, polars_type

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_TIMESTAMP: Final = ValueType.UNIX_TIMESTAMP
_TIMESTAMP_LIST: Final = ValueType.UNIX_TIMESTAMP_LIST
#: pandas' types that hold integers and booleans beside nulls.
_NULLABLE: Final = {ValueType.INT32: "Int32", ValueType.INT64: "Int64", ValueType.BOOL: "boolean"}


class FieldValues(msgspec.Struct):
    """One row of an answer: entities and features by name."""

    fields: dict[str, Any]
    statuses: dict[str, Status]


class OnlineResponse:
    """The answer to one request, rows in its order: the entities first, then the features as they were asked for.

    Byte strings stay bytes, UNIX_TIMESTAMP values are aware datetimes in UTC, and what is not PRESENT is None.
    """

    def __init__(self, columns: OnlineColumns) -> None:
        #: The answer as plain columns, timestamps in UTC microseconds.
        self.columns = columns

    def to_dict(self) -> dict[str, list[Any]]:
        """``{"driver_id": [...], "table:feature": [...]}``."""
        columns = self.columns
        entities = columns.entities
        answer = dict(zip((*entities, *columns.names), map(list, (*entities.values(), *columns.values)), strict=True))
        for name, dtype in columns.entity_types.items():
            if dtype is _TIMESTAMP:
                answer[name] = _datetimes(answer[name])
        if _TIMESTAMP in columns.dtypes or _TIMESTAMP_LIST in columns.dtypes:
            for name, dtype in zip(columns.names, columns.dtypes, strict=True):
                if dtype is _TIMESTAMP:
                    answer[name] = _datetimes(answer[name])
                elif dtype is _TIMESTAMP_LIST:
                    answer[name] = [None if items is None else _datetimes(items) for items in answer[name]]
        return answer

    def statuses(self) -> dict[str, list[Status]]:
        """The status of everything in :meth:`to_dict`. Entities are PRESENT, or NULL_VALUE where none was given."""
        columns = self.columns
        answer = {name: list(map(_entity_status, values)) for name, values in columns.entities.items()}
        answer.update((name, list(found)) for name, found in zip(columns.names, columns.statuses, strict=True))
        return answer

    def event_timestamps(self) -> dict[str, list[datetime | None]]:
        """The event time of every feature's row as an aware datetime, None where nothing was found."""
        columns = self.columns
        return {name: _datetimes(times) for name, times in zip(columns.names, columns.event_times, strict=True)}

    @property
    def field_values(self) -> list[FieldValues]:
        """The answer row by row."""
        values, statuses = self.to_dict(), self.statuses()
        names = list(values)
        return [
            FieldValues(dict(zip(names, row, strict=True)), dict(zip(names, found, strict=True)))
            for row, found in zip(zip(*values.values(), strict=True), zip(*statuses.values(), strict=True), strict=True)
        ]

    def to_polars(self) -> pl.DataFrame:
        """A frame in the declared types."""
        import polars as pl

        columns = self.columns
        series = [_series(name, values, columns.entity_types[name]) for name, values in columns.entities.items()]
        series += map(_series, columns.names, columns.values, columns.dtypes)
        return pl.DataFrame(series)

    def to_arrow(self) -> pa.Table:
        """An Arrow table in the declared types. Needs pyarrow."""
        frame = self.to_polars()
        return _with_extra(frame.to_arrow, "pyarrow", "arrow")

    def to_pandas(self) -> pd.DataFrame:
        """A pandas frame. Integers and booleans beside nulls have pandas' nullable types. Needs pandas."""
        frame = self.to_polars()
        result: pd.DataFrame = _with_extra(frame.to_pandas, "pandas", "pandas")
        columns = self.columns
        for name, dtype in [*columns.entity_types.items(), *zip(columns.names, columns.dtypes, strict=True)]:
            if dtype in _NULLABLE and frame.get_column(name).null_count():
                exact: Any = frame.get_column(name).to_pandas(use_pyarrow_extension_array=True)
                result[name] = exact.astype(_NULLABLE[dtype])
        return result

    def __repr__(self) -> str:
        return f"OnlineResponse({self.columns.rows} rows, {list(self.columns.names)})"


def _entity_status(value: Any) -> Status:
    return Status.NULL_VALUE if value is None else Status.PRESENT


def _datetimes(micros: Sequence[int | None]) -> list[datetime | None]:
    try:
        return [None if instant is None else clock.to_datetime(instant) for instant in micros]
    except OverflowError as error:
        raise InvalidArgument(
            "A timestamp lies outside the years 1 to 9999, which a datetime cannot hold.",
            hint="Read it with to_polars() or to_arrow().",
        ) from error


def _series(name: str, values: Sequence[Any], dtype: ValueType) -> pl.Series:
    import polars as pl

    if dtype is not _TIMESTAMP and dtype is not _TIMESTAMP_LIST:
        return pl.Series(name, values, dtype=polars_type(dtype))
    micros = pl.List(pl.Int64()) if dtype.is_list else pl.Int64()
    return pl.Series(name, values, dtype=micros).cast(polars_type(dtype))


def _with_extra(convert: Callable[[], Any], package: str, extra: str) -> Any:
    """Polars itself imports what its conversions need."""
    try:
        return convert()
    except ModuleNotFoundError as error:
        raise MissingDependency(package, extra=extra, purpose=f"Turning an answer into {package}") from error
