"""What leaves the command line: one JSON document or tables on stdout; errors, progress and logs on stderr.

Rich is imported only where something is shown to a person, so that ``--json`` answers fast.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Iterable
from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from tiffin import clock
from tiffin.errors import InvalidData, TiffinError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Where nobody looks at a terminal, lines are not folded: they are for grep.
_UNFOLDED: Final = 10_000
#: The rows at fault that an error lists; the rest are counted.
_SHOWN_REJECTED: Final = 5
#: What an error of the library advises, and what is typed here for the same.
_TYPED: Final = {
    "allow_breaking=True": "--allow-breaking",
    'on_invalid="quarantine"': "--on-invalid quarantine",
    "list_jobs()": "`tiffin jobs list`",
    "materialize(tables, start, end)": "tiffin materialize TABLE --start TIME --end TIME",
}


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr: folded and coloured on a terminal, plain elsewhere."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    folded = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, width=None if folded else _UNFOLDED, highlight=False, markup=False, emoji=False)


def fits(part: RenderableType) -> bool:
    """Whether something can be shown on stdout without folding its lines."""
    screen = console()
    free = screen.options.update(width=_UNFOLDED)
    return screen.measure(part, options=free).maximum <= screen.width


def show(*parts: RenderableType) -> None:
    """Print for a person, on stdout."""
    out = console()
    with out.capture() as captured:
        for part in parts:
            out.print(part)
    # Tables fill their last column up with blanks, which disturb what reads a pipe.
    lines = captured.get().splitlines()
    sys.stdout.write("".join(f"{line if out.is_terminal else line.rstrip()}\n" for line in lines))


def note(line: str) -> None:
    """One line beside the answer, on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_json(data: object) -> None:
    """The answer as one JSON document on stdout, in ASCII where the stream is not UTF-8.

    Instants are RFC 3339 in UTC, bytes base64, and the numbers that JSON lacks the texts "NaN", "Infinity" and
    "-Infinity".
    """
    sys.stdout.write(_json(data, ascii_only=sys.stdout.encoding.lower() not in {"utf-8", "utf8"}) + "\n")
    sys.stdout.flush()


def write_line(data: object) -> None:
    """A JSON text on a line of its own on stdout, from a command that goes on."""
    say([json.dumps(plain(data), allow_nan=False)])


def say(lines: Iterable[str]) -> None:
    """Lines on stdout, at once, from a command that goes on."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _json(data: object, *, ascii_only: bool) -> str:
    return json.dumps(plain(data), indent=2, ensure_ascii=ascii_only, allow_nan=False)


def plain(value: object) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return clock.to_iso(clock.to_micros(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, str | int | float):
        return value
    return plain({name: getattr(value, name) for name in value.__struct_fields__})  # type: ignore[attr-defined]


def report(error: TiffinError, *, as_json: bool) -> None:
    """Tell an error on stderr: what happened and what to do."""
    rejected = error.rejected if isinstance(error, InvalidData) else ()
    message, hint = _as_typed(error.message).rstrip(), error.hint and _as_typed(error.hint)
    data = error.to_dict() | {"message": message, "hint": hint}
    fail(message, hint=hint, as_json=as_json, data=data, lines=list(at_fault(rejected)))


def _as_typed(text: str) -> str:
    """Words of the library, which speak of calls, as words of the command line."""
    for call, words in _TYPED.items():
        text = text.replace(call, words)
    return text


def fail(message: str, *, hint: str | None, as_json: bool, data: dict[str, Any], lines: Iterable[str] = ()) -> None:
    """As :func:`report`, for an error that is not of Tiffin's tree; ``data`` is what machines get of it."""
    if as_json:
        note(_json({"error": data}, ascii_only=True))
    elif sys.stderr.isatty():
        _fail_in_colour(message, hint, lines)
    else:
        for line in (f"error: {message}", *(f"  {line}" for line in lines), *([f"hint: {hint}"] if hint else [])):
            note(line)


def _fail_in_colour(message: str, hint: str | None, lines: Iterable[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text("error:", "bold red"), Text(message, "bold"))
    for line in lines:
        grid.add_row("", Text(line, "red"))
    if hint:
        grid.add_row(Text("hint:", "cyan"), Text(hint))
    console(stderr=True).print(grid)


def at_fault(rejected: Iterable[dict[str, Any]]) -> Iterable[str]:
    """Refused rows, a line each, the first of them; how many more are told of."""
    rows = list(rejected)
    for row in rows[:_SHOWN_REJECTED]:
        yield f"row {row.get('row')}, {row.get('column')}: {row.get('reason')} ({row.get('value')})"
    if len(rows) > _SHOWN_REJECTED:
        yield f"and {len(rows) - _SHOWN_REJECTED} more rows"
