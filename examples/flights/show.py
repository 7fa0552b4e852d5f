"""How the demo prints: rules, sentences and small tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import polars as pl
from rich.console import Console
from rich.padding import Padding
from rich.table import Table


class Page:
    """What the story is written on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._console.print()
        self._console.rule(f"[bold]{self._step}  {title}", align="left")

    def say(self, text: str) -> None:
        """A paragraph; rich markup is read."""
        self._console.print(Padding(text, (0, 0, 0, 2), expand=False))

    def log(self, line: str) -> None:
        """A line of something that runs."""
        self._console.print(Padding(line, (0, 0, 0, 4), expand=False), markup=False, style="dim")

    def code(self, text: str) -> None:
        """Text as it is."""
        self._console.print(Padding(text, (0, 0, 0, 4), expand=False), markup=False, style="cyan")

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[int] = ()) -> None:
        """A small table; the columns ``numbers`` are set to the right."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
        for position, header in enumerate(headers):
            table.add_column(header, justify="right" if position in numbers else "left")
        for row in rows:
            table.add_row(*(shown(value) for value in row))
        self._console.print(Padding(table, (0, 0, 0, 4), expand=False))

    def frame(self, frame: pl.DataFrame) -> None:
        """The rows of a small frame."""
        numbers = [i for i, dtype in enumerate(frame.dtypes) if dtype.is_numeric()]
        self.table(frame.columns, frame.iter_rows(), numbers=numbers)


class Took:
    """The seconds that a block took, once it has ended."""

    seconds = 0.0


@contextmanager
def stopwatch() -> Iterator[Took]:
    """Measure a block."""
    took = Took()
    begin = perf_counter()
    yield took
    took.seconds = perf_counter() - begin


def shown(value: object) -> str:
    """A value for people."""
    if value is None:
        return "[dim]null[/dim]"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" + (f".{value.microsecond:06}" if value.microsecond else "")
    if isinstance(value, timedelta):
        hours = value // timedelta(hours=1)
        return f"{hours} hours" if hours != 1 else "1 hour"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1_000:
        return f"{value:,}"
    return str(value)
