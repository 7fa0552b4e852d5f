"""The shapes in which a person reads an answer: tables with a light head, facts one a line, words with a mark.

Text of users is never read as markup: the console takes strings as they are, and styles come as :class:`Text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from tiffin import clock

Cell = str | Text

#: How a state, a status or a class of change looks, wherever it appears.
STYLES: Final[Mapping[str, str]] = {
    "COMPLETED": "green",
    "IN_PROGRESS": "cyan",
    "STARTING": "cyan",
    "FAILED": "bold red",
    "CANCELLED": "yellow",
    "PRESENT": "green",
    "NULL_VALUE": "dim",
    "NOT_FOUND": "red",
    "OUTSIDE_MAX_AGE": "yellow",
    "none": "bold green",
    "compatible": "green",
    "breaking": "bold yellow",
    "destructive": "bold red",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Sequence[str] = ()) -> Table:
    """A table; ``right`` names the columns of numbers."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def facts(pairs: Iterable[tuple[str, Cell]]) -> Table:
    """Facts, one a line, empty ones left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if str(value):
            grid.add_row(name, value)
    return grid


def mark(word: str, shown: str | None = None) -> Text:
    """A state, status or class in its colour."""
    return Text(word if shown is None else shown, STYLES.get(word, ""))


def words(*parts: str | tuple[str, str]) -> Text:
    """A line of words, those with a style given as (word, style)."""
    return Text.assemble(*parts)


def moment(micros: int | None) -> str:
    """An instant to the second, in UTC; empty where there is none."""
    return clock.to_iso(micros // 1_000_000 * 1_000_000) if micros else ""


def labels(pairs: Mapping[str, str]) -> str:
    """Labels as ``key=value``."""
    return ", ".join(f"{key}={value}" for key, value in sorted(pairs.items()))


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
