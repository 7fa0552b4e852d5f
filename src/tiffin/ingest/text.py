"""Text has no types of its own: how CSV, JSON lines and names of folders are read by the declared ones.

A CSV file and a folder's name hold texts, each read as what its column is declared to be. JSON has numbers, truth and
lists; its texts stand for instants (ISO 8601) and bytes (base64) where these are declared. A value without a reading
refuses its row. Columns that only expressions read get the type that their values suggest.
"""

from __future__ import annotations

import gzip
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec
import polars as pl

from tiffin import clock
from tiffin.coerce import Coercion, coercion
from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidData
from tiffin.json_columns import encoded, is_nested, json_column
from tiffin.offline.instants import from_iso
from tiffin.offline.location import filesystem, is_remote
from tiffin.offline.mapping import is_bare
from tiffin.types import ValueType, polars_type

Writing = Literal["plain", "json"]
"""How a text stands for a value: as it is, or as JSON, with quotes around texts."""

_LINES: Final = 1 << 15
_ROWS: Final = 1 << 17
_TRUE: Final = ("true", "t", "1", "yes")
_FALSE: Final = ("false", "f", "0", "no")
_NOT_JSON: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_WHOLE: Final = r"^[+-]?\d+$"


class Given(NamedTuple):
    """A frame as a caller gave it; ``texts`` are its columns of texts that stand for values of other types."""

    frame: pl.DataFrame
    texts: Mapping[str, Writing] = {}


def parsing(column: pl.Expr, writing: Writing, to: ValueType) -> Coercion:
    """How a column of texts becomes a declared type."""
    reason = f"the text is no {to.name}"
    value = _parsed(_unquoted(column, to) if writing == "json" else column, to)
    if value is None:
        reason = f"a text cannot hold {to.name}; use Parquet, or JSON lines with lists of one type"
        value = pl.lit(None, polars_type(to))
    return Coercion(value, column.is_not_null() & value.is_null(), reason)


def _unquoted(column: pl.Expr, to: ValueType) -> pl.Expr:
    """JSON as the plain text of a value of a type, null where it is of another kind: a quoted number is a text."""
    quoted = column.str.starts_with('"')
    content = pl.when(quoted).then(column).str.json_decode(pl.String)
    match to:
        case ValueType.STRING | ValueType.BYTES:
            return content
        case ValueType.UNIX_TIMESTAMP:
            return pl.coalesce(content, column)
        case ValueType.BOOL:
            return pl.when(column.is_in(["true", "false"])).then(column)
        case _:
            return pl.when(~quoted).then(column)


def _parsed(text: pl.Expr, to: ValueType) -> pl.Expr | None:
    trimmed = text.str.strip_chars()
    match to:
        case ValueType.STRING:
            return text
        case ValueType.BYTES:
            return trimmed.str.decode("base64", strict=False)
        case ValueType.INT32 | ValueType.INT64:
            whole = pl.when(trimmed.str.contains(_WHOLE)).then(trimmed).cast(pl.Int64, strict=False)
            # "3.0" is how tools write a nullable integer.
            real = coercion(trimmed.cast(pl.Float64, strict=False), pl.Float64(), ValueType.INT64).value
            return pl.coalesce(whole, pl.when(~trimmed.str.contains(_WHOLE)).then(real)).cast(
                polars_type(to), strict=False
            )
        case ValueType.DOUBLE | ValueType.FLOAT:
            return coercion(trimmed.cast(pl.Float64, strict=False), pl.Float64(), to).value
        case ValueType.BOOL:
            lower = trimmed.str.to_lowercase()
            return pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False)
        case ValueType.UNIX_TIMESTAMP:
            return _instant(trimmed)
        case _:
            return None


def _instant(text: pl.Expr) -> pl.Expr:
    """ISO 8601, finer times rounded up; or whole seconds since 1970."""
    whole = pl.when(text.str.contains(_WHOLE)).then(text).cast(pl.Int64, strict=False)
    seconds = coercion(whole, pl.Int64(), ValueType.UNIX_TIMESTAMP).value
    return pl.coalesce(from_iso(text, "up"), seconds)


def declared_types(table: TableSchema, names: Iterable[str]) -> dict[str, ValueType]:
    """The columns of a batch whose types are declared."""
    types = {c.expression: c.dtype for c in (*table.keys, *table.features) if is_bare(c, names)}
    for name in (table.event_column, table.created_column):
        types[name] = ValueType.UNIX_TIMESTAMP
    types[table.deleted_column] = ValueType.BOOL
    return {name: dtype for name, dtype in types.items() if name in set(names)}


def csv_frames(path: str, table: TableSchema) -> Iterator[Given]:
    """The rows of a CSV file with a header."""
    texts = pl.scan_csv(path, infer_schema=False, glob=False)
    names = texts.collect_schema().names()
    declared = declared_types(table, names)
    guessed = pl.scan_csv(path, infer_schema_length=10_000, glob=False).collect_schema()
    others = [pl.col(name).cast(guessed[name]) for name in names if name not in declared]
    for frame in texts.collect_batches(chunk_size=_ROWS, maintain_order=True):
        yield Given(frame.with_columns(others), dict.fromkeys(declared, "plain"))


def json_frames(path: str, table: TableSchema) -> Iterator[Given]:
    """The rows of a file of JSON objects, one a line."""
    decoder = msgspec.json.Decoder()
    done = 0
    with _open(path) as file:
        while lines := list(islice(file, _LINES)):
            rows = []
            for number, line in enumerate(lines, done + 1):
                if line.strip():
                    rows.append(_row(decoder, line, path, number))
            done += len(lines)
            yield _json_frame(rows, table)


def _row(decoder: msgspec.json.Decoder[Any], line: bytes, path: str, number: int) -> dict[str, Any]:
    try:
        row = decoder.decode(line)
    except msgspec.DecodeError as error:
        raise InvalidData(f"Line {number} of {path!r} is not JSON: {error}.", field="source") from error
    if not isinstance(row, dict):
        raise InvalidData(f"Line {number} of {path!r} is not a JSON object.", field="source", hint="One object a line.")
    return row


def _json_frame(rows: list[dict[str, Any]], table: TableSchema) -> Given:
    names = list(dict.fromkeys(name for row in rows for name in row))
    declared = declared_types(table, names)
    texts: dict[str, Writing] = {}
    columns = []
    for name in names:
        column = json_column(name, [row.get(name) for row in rows])
        if column is None:
            column = pl.Series(name, [encoded(row.get(name)) for row in rows], pl.String)
            texts[name] = "json"
        elif column.dtype == pl.String and declared.get(name) in {ValueType.BYTES, ValueType.UNIX_TIMESTAMP}:
            texts[name] = "plain"
        columns.append(column)
    return Given(pl.DataFrame(columns), {name: how for name, how in texts.items() if name in declared})


def json_columns(columns: Mapping[str, list[Any]], table: TableSchema) -> Given:
    """The rows of a JSON object of columns, each a list of an item a row; InvalidData where they are not of one length.

    As floats, the texts ``NaN``, ``Infinity`` and ``-Infinity`` stand for what JSON has no numbers for.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = dict(islice(lengths.items(), 8))
        raise InvalidData(f"The columns of a batch must be of one length, got {shown}.", field="df")
    declared = declared_types(table, columns)
    texts: dict[str, Writing] = {}
    series = []
    for name, values in columns.items():
        dtype = declared.get(name)
        if dtype is not None and dtype.element in {ValueType.FLOAT, ValueType.DOUBLE}:
            values = [_number(value) for value in values]
        elif dtype in _TEXT_LISTS:
            read = partial(_TEXT_LISTS[dtype], name)
            values = [[read(item) for item in value] if isinstance(value, list) else value for value in values]
        column = None if is_nested(values) else json_column(name, values)
        if column is None:
            column = pl.Series(name, [encoded(value) for value in values], pl.String)
            texts[name] = "json"
        elif column.dtype == pl.String and dtype in {ValueType.BYTES, ValueType.UNIX_TIMESTAMP}:
            texts[name] = "plain"
        series.append(column)
    return Given(pl.DataFrame(series), {name: how for name, how in texts.items() if name in declared})


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_NOT_JSON.get(item, item) if isinstance(item, str) else item for item in value]
    return _NOT_JSON.get(value, value) if isinstance(value, str) else value


def _bytes(name: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidData(f"Column {name!r} holds {text!r}, which is no base64: {error}.", field=name) from None


def _time(name: str, text: Any) -> Any:
    return clock.to_datetime(clock.to_micros(text, field=name)) if isinstance(text, str) else text


#: How the texts in lists are read that JSON has no values for.
_TEXT_LISTS: Final = {ValueType.BYTES_LIST: _bytes, ValueType.UNIX_TIMESTAMP_LIST: _time}


def _open(path: str) -> IO[bytes]:
    if is_remote(path):
        remote: IO[bytes] = filesystem(path).open(path, "rb")
        return remote
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]  # noqa: PTH123  # gzip's file reads bytes as any does; the caller closes it
