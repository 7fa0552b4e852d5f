"""Training sets and online answers as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tiffin import clock
from tiffin.cli import output
from tiffin.cli.view import Cell, count, mark, table
from tiffin.online.read import Status

if TYPE_CHECKING:
    import polars as pl

    from tiffin.online.response import OnlineResponse

#: Rows of a training set that are shown, in as many columns as fit; all of it is in the files.
_ROWS: Final = 10

Columns = Mapping[str, Sequence[Any]]


def training_set(parts: pl.LazyFrame, rows: int, uri: str) -> list[RenderableType]:
    """The first rows, how large the whole is, and where."""
    frame = parts.head(_ROWS).collect()
    names = frame.columns
    head = _head(frame, names)
    while len(names) > 1 and not output.fits(head):
        names = names[:-1]
        head = _head(frame, names)
    more = [f"… of {count(rows, 'row')}, {len(frame.columns)} columns"]
    hidden = rows > frame.height or len(names) < len(frame.columns)
    size = Text.assemble(("✓ ", "green"), f"{count(rows, 'row')} in {uri}")
    return [head, *(more if hidden else []), "", size]


def _head(frame: pl.DataFrame, names: list[str]) -> Table:
    """The first rows of some columns."""
    rows = [[_shown(value) for value in row] for row in frame.select(names).rows()]
    numbers = [_two_lines(name, "__") for name in names if frame.schema[name].is_numeric()]
    return table([_two_lines(name, "__") for name in names], rows, right=numbers)


def online_answer(response: OnlineResponse) -> list[RenderableType]:
    """A row a line with a column a feature, coloured by status; where that is too wide, a feature a line."""
    rows = response.columns.rows
    values, statuses, times = response.to_dict(), response.statuses(), response.event_timestamps()
    entities = [name for name in values if name not in times]
    lines = [
        [
            *(_bold(values[name][at]) for name in entities),
            *(_value(values[name][at], statuses[name][at]) for name in times),
            _time(max((found for name in times if (found := times[name][at]) is not None), default=None)),
        ]
        for at in range(rows)
    ]
    heads = [*entities, *(_two_lines(name, ":") for name in times), "latest event"]
    wide = table(heads, lines, right=heads[len(entities) : -1])
    if rows != 1 and output.fits(wide):
        return [wide]
    return [part for at in range(rows) for part in _upright(at, entities, values, statuses, times)]


def _upright(
    at: int, entities: list[str], values: Columns, statuses: Columns, times: Columns
) -> Iterator[RenderableType]:
    """One row with a feature a line."""
    if at:
        yield ""
    lines = [
        [
            name,
            _shown(values[name][at]) if statuses[name][at] is Status.PRESENT else "",
            mark(statuses[name][at]),
            _time(times[name][at]),
        ]
        for name in times
    ]
    yield Text(", ".join(f"{name} = {values[name][at]}" for name in entities), "bold")
    yield table(["feature", "value", "status", "event time"], lines, right=["value"])


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
