"""Entity sources: the rows for which features are asked, from frames, files and file sources, as one lazy frame.

Keys come out in their registered types and the instants as UTC microseconds, finer ones rounded down, so that nothing
leaks. All other columns are handed through, and the caller's frame is never changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from tiffin.coerce import coerce, coercion
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidArgument, InvalidData, NotFound, closest
from tiffin.frames import is_frame, lazy_frame
from tiffin.offline import lake
from tiffin.offline.footers import storage_errors
from tiffin.offline.instants import from_iso
from tiffin.offline.location import is_remote, normalise
from tiffin.offline.runs import Listing
from tiffin.types import ValueType, polars_type

#: The column of instants, where the source does not name another.
TIMESTAMP_COLUMN: Final = "event_timestamp"

_CSV_SUFFIXES: Final = (".csv", ".csv.gz", ".csv.zst")
#: Keys that CSV must not read as numbers: they may begin with zeros.
_TEXTS: Final = frozenset({ValueType.STRING, ValueType.BYTES})


def timestamp_column(source: object) -> str:
    """The name of the source's column of instants: a FileSource declares its own."""
    return source.event_timestamp_column if isinstance(source, FileSource) else TIMESTAMP_COLUMN


def open_entities(source: Any, keys: Mapping[str, ValueType]) -> pl.LazyFrame:
    """The rows of an entity source with ``keys`` in these types and the instants as ``Datetime("us", "UTC")``.

    ``source`` is a pandas, Polars or Arrow frame, a path or URI of Parquet or CSV, or a FileSource. Raises NotFound
    where there are no such files, and InvalidData for a missing column, a refused type or a value that does not fit,
    all before any history is read.
    """
    frame = _read(source, keys)
    return normalised(frame, keys, timestamp_column(source))


def normalised(frame: pl.LazyFrame, keys: Mapping[str, ValueType], timestamp: str) -> pl.LazyFrame:
    """A frame with its keys and instants in their types, every column in its place."""
    with storage_errors("The entity source"):
        schema = frame.collect_schema()
    columns: list[pl.Expr] = []
    wanted = {**keys, timestamp: ValueType.UNIX_TIMESTAMP}
    for name, value_type in wanted.items():
        if name not in schema:
            raise InvalidData(
                f"The entity source has no column {name!r}; it has {schema.names()}.",
                field=name,
                hint=closest(name, schema.names()),
            )
        found = schema[name]
        if name == timestamp and not isinstance(found, pl.Datetime | pl.Date | pl.Null):
            raise _wrong_type(name, found, "instants", "Convert it first: pandas.to_datetime, or str.to_datetime.")
        how = coercion(pl.col(name), found, value_type, finer="down")
        if how.refused:
            raise _wrong_type(name, found, value_type.name, f"Cast it to {polars_type(value_type)} first.")
        if how.failed is not None:
            _check(frame, name, value_type)
        columns.append(how.value.alias(name))
    return frame.with_columns(columns)


def _check(frame: pl.LazyFrame, name: str, value_type: ValueType) -> None:
    """Look at every value of one column; those that do not fit are refused before any work."""
    with storage_errors("The entity source"):
        values = frame.select(name).collect().to_series()
    coerced = coerce(values, value_type, finer="down")
    if coerced.failed is None:
        return
    rows = coerced.failed.arg_true()
    raise InvalidData(
        f"The entity source has {len(rows)} values in {name!r} that do not fit {value_type.name}; the first is "
        f"{values[int(rows[0])]!r} in row {rows[0]}.",
        field=name,
        hint=f"{coerced.reason.capitalize()}.",
        rejected=[
            {"row": int(row), "column": name, "reason": coerced.reason, "value": repr(values[int(row)])}
            for row in rows.head(10)
        ],
    )


def _wrong_type(name: str, found: pl.DataType, wanted: str, hint: str) -> InvalidData:
    return InvalidData(f"The entity source's column {name!r} is of type {found}, not {wanted}.", field=name, hint=hint)


def _read(source: Any, keys: Mapping[str, ValueType]) -> pl.LazyFrame:
    if isinstance(source, FileSource):
        return _mapped(_parquet(source.file_url, source), source.field_mapping)
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return _csv(path, keys) if path.lower().endswith(_CSV_SUFFIXES) else _parquet(path)
    if is_frame(source):
        return lazy_frame(source, field="entity_source")
    raise InvalidArgument(
        f"An entity source cannot be a {type(source).__module__}.{type(source).__name__}.",
        field="entity_source",
        hint="Give a pandas, Polars or Arrow frame, a path or URI of Parquet or CSV, or a FileSource.",
    )


def _parquet(url: str, source: FileSource | None = None) -> pl.LazyFrame:
    """All columns of Parquet files. Neighbours may differ in their columns: what one lacks is null."""
    from tiffin.definitions.format import ParquetFormat

    snapshot = lake.snapshot(source or FileSource(TIMESTAMP_COLUMN, ParquetFormat(), url))
    if not snapshot.files:
        raise NotFound(
            f"The entity source {url!r} has no Parquet files.", field="entity_source", hint="Check the path."
        )
    listing = Listing.of(snapshot.files, ())
    types = listing.types()
    names = list(dict.fromkeys([*types, *(snapshot.columns or ())]))
    frames = [run.scan().select(names) for run in listing.runs(names, dict.fromkeys(names, pl.Null()) | types)]
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical_relaxed")


def _csv(path: str, keys: Mapping[str, ValueType]) -> pl.LazyFrame:
    uri = normalise(path)
    if not is_remote(uri) and not os.path.exists(uri):  # noqa: PTH110  # a URI or a path, as text
        raise NotFound(f"The entity source {path!r} does not exist.", field="entity_source", hint="Check the path.")
    texts = {name: pl.String() for name, dtype in keys.items() if dtype in _TEXTS}
    # All rows decide the types: a text may come late in a column of numbers.
    frame = pl.scan_csv(uri, try_parse_dates=True, infer_schema_length=None, schema_overrides=texts, glob=False)
    with storage_errors(f"The entity source {path!r}"):
        schema = frame.collect_schema()
        unsaid = [name for name in keys if name not in texts and schema.get(name) == pl.String]
        held = frame.select(pl.col(unsaid).is_not_null().any()).collect()
    # A column without values is read as texts, but may be of any type.
    frame = frame.with_columns(pl.lit(None).alias(name) for name in unsaid if not held[name].item())
    if schema.get(TIMESTAMP_COLUMN) != pl.String:
        return frame
    # Texts with a zone, or some of them: what is read as a time by itself has none.
    instants = from_iso(pl.col(TIMESTAMP_COLUMN).str.strip_chars(), "down").alias(TIMESTAMP_COLUMN)
    unread = frame.filter(pl.col(TIMESTAMP_COLUMN).is_not_null() & instants.is_null()).select(TIMESTAMP_COLUMN)
    with storage_errors(f"The entity source {path!r}"):
        first = unread.head(1).collect()
    if first.height:
        raise InvalidData(
            f"The entity source {path!r} has {first.item()!r} in {TIMESTAMP_COLUMN!r}, which is not an instant.",
            field=TIMESTAMP_COLUMN,
            hint="Write instants as 2026-09-01T12:00:00Z.",
        )
    return frame.with_columns(instants)


def _mapped(frame: pl.LazyFrame, field_mapping: Mapping[str, str]) -> pl.LazyFrame:
    """Columns under the names that the mapping gives them, each in the place of the column it replaces."""
    if not field_mapping:
        return frame
    schema = frame.collect_schema()
    replaced: dict[str, str] = {}
    added: list[pl.Expr] = []
    for name, expression in field_mapping.items():
        if expression in schema:
            replaced[expression] = name
            continue
        try:
            added.append(pl.sql_expr(expression).alias(name))
        except pl.exceptions.PolarsError as error:
            raise InvalidArgument(
                f"The entity source's field_mapping reads {name!r} from {expression!r}, which is neither a column nor "
                f"a SQL scalar expression: {error}.",
                field="field_mapping",
                hint=closest(expression, schema.names()),
            ) from error
    kept = [
        pl.col(name).alias(replaced.get(name, name))
        for name in schema.names()
        if name in replaced or name not in field_mapping
    ]
    return frame.select([*kept, *added])
