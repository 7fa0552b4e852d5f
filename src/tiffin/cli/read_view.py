"""Training sets and online answers as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import RenderableType
from rich.text import Text

from tiffin import clock
from tiffin.cli.view import Cell, count, mark, table
from tiffin.online.read import Status

if TYPE_CHECKING:
    import polars as pl

    from tiffin.online.response import OnlineResponse

#: Rows and columns of a training set that are shown; all of it is in the files.
_ROWS: Final = 10
_COLUMNS: Final = 8


def training_set(frame: pl.DataFrame, uri: str) -> list[RenderableType]:
    """The first rows, how large the whole is, and where."""
    names = frame.columns[:_COLUMNS]
    numbers = [name for name in names if frame.schema[name].is_numeric()]
    rows = [[_shown(value) for value in row] for row in frame.select(names).head(_ROWS).rows()]
    more = [f"… of {count(frame.height, 'row')}, {len(frame.columns)} columns"]
    hidden = frame.height > _ROWS or len(frame.columns) > _COLUMNS
    size = Text.assemble(("✓ ", "green"), f"{count(frame.height, 'row')} in {uri}")
    head = [_two_lines(name, "__") for name in names]
    right = [_two_lines(name, "__") for name in numbers]
    return [table(head, rows, right=right), *(more if hidden else []), "", size]


def online_answer(response: OnlineResponse) -> list[RenderableType]:
    """A column a feature, coloured by status; a single row is turned, with a line a feature."""
    values, statuses, times = response.to_dict(), response.statuses(), response.event_timestamps()
    entities = [name for name in values if name not in times]
    if response.columns.rows == 1:
        lines = [
            [name, _value(values[name][0], statuses[name][0]), mark(statuses[name][0]), _time(times[name][0])]
            for name in times
        ]
        keys = Text(", ".join(f"{name} = {values[name][0]}" for name in entities), "bold")
        return [keys, "", table(["feature", "value", "status", "event time"], lines, right=["value"])]
    rows = [
        [
            *(_bold(values[name][at]) for name in entities),
            *(_value(values[name][at], statuses[name][at]) for name in times),
            _time(max((found for name in times if (found := times[name][at]) is not None), default=None)),
        ]
        for at in range(response.columns.rows)
    ]
    heads = [*entities, *(_two_lines(name, ":") for name in times), "latest event"]
    return [table(heads, rows, right=heads[len(entities) : -1])]


def _value(value: Any, status: Status) -> Cell:
    """A value, or in its place why there is none."""
    return _shown(value) if status is Status.PRESENT else mark(status)


def _bold(value: Any) -> Text:
    shown = _shown(value)
    return shown if isinstance(shown, Text) else Text(shown, "bold")


def _two_lines(name: str, separator: str) -> str:
    """A column's name with its table above it, so that columns stay narrow."""
    before, found, after = name.partition(separator)
    return f"{before}\n{after}" if found and before and after else name


def _time(instant: datetime | None) -> str:
    return "" if instant is None else clock.to_iso(clock.to_micros(instant))


def _shown(value: Any) -> Cell:
    if value is None:
        return Text("null", "dim")
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"[{', '.join(str(_shown(item)) for item in value)}]"
    return str(value)
