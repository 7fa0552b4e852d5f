"""Frames to the keys and values that a store holds, a column at a time. The format is told in ``layout.py``.

A key is the signature of the entities, then their values in the order of sorted entity names: numbers, booleans and
timestamps in their width, texts and byte strings preceded by their length in 4 bytes unless they come last. The
signature, 4 bytes of a hash over names and types, keeps rows of a table apart whose entities were once others; within
one signature the encoding is injective.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tiffin.definitions.schema import DELETED, RANK, Column, TableSchema
from tiffin.errors import InvalidData
from tiffin.online.base import RANK_BYTES
from tiffin.online.layout import (
    BIAS,
    HAS_NULLS,
    HEADER,
    HEADER_END,
    OFFSET_BYTES,
    Layout,
    event_time,
    header,
    is_tombstone,
    is_variable,
    key_signature,
    width,
)
from tiffin.types import TYPE_NAMES, ValueType, polars_type

if TYPE_CHECKING:
    import polars as pl

Array = np.ndarray[Any, np.dtype[Any]]

#: The smallest signed 64-bit number: its bytes are those of a null, so no instant or row may have it.
_LEAST: Final = -BIAS
_LIMIT: Final = 1 << 32


def encode_frame(
    table: TableSchema, layout_number: int, frame: pl.DataFrame, *, online_only: bool = False
) -> list[tuple[bytes, bytes]]:
    """The (key, value) of every row of a canonical frame, in its order.

    ``layout_number`` is what the store's ``ensure`` gave for ``Layout.of(table.features)``. Rows whose DELETED is
    true become tombstones, and ``online_only`` marks rows that no history holds. Columns of the rank that the frame
    lacks count as null. InvalidData where a key or an event time is null, a column is missing or of another type, or a
    row holds 4 GiB. Hand over large frames in slices: the result takes a few hundred bytes a row.
    """
    _check_columns(table, frame)
    values = _encode_values(table, layout_number, frame, online_only=online_only)
    return list(zip(encode_keys(table.keys, frame), values, strict=True))


def encode_keys(keys: tuple[Column, ...], frame: pl.DataFrame) -> list[bytes]:
    """The key of every row of a frame that holds the entities in their registered types, none of them null."""
    ordered = sorted(keys, key=_name)
    signature = key_signature(keys)
    if any(is_variable(column.dtype) for column in ordered):
        parts = [_key_part(frame.get_column(c.name), c.dtype, last=c is ordered[-1]) for c in ordered]
        return [signature + b"".join(row) for row in zip(*parts, strict=True)]
    fields = [("signature", ">u4"), *((column.name, f">u{width(column.dtype)}") for column in ordered)]
    rows = np.zeros(frame.height, dtype=fields)
    rows["signature"] = int.from_bytes(signature, "big")
    for column in ordered:
        rows[column.name] = _scalars(frame.get_column(column.name), column.dtype)
    return _split(rows)


def _key_part(series: pl.Series, dtype: ValueType, *, last: bool) -> list[bytes]:
    if not is_variable(dtype):
        return _split(_scalars(series, dtype).astype(f">u{width(dtype)}"))
    parts = _byte_strings(series)
    return parts if last else [len(part).to_bytes(OFFSET_BYTES, "big") + part for part in parts]


def _encode_values(table: TableSchema, layout_number: int, frame: pl.DataFrame, *, online_only: bool) -> list[bytes]:
    layout = Layout.of(table.features)
    rows = np.zeros(frame.height, dtype=_row_type(layout))
    for position, name in enumerate(RANK):
        if name in frame.columns:
            rows[f"rank{position}"] = _biased(frame.get_column(name), table)
    head = header(layout_number, online_only=online_only)
    rows["header"] = np.frombuffer(head, dtype=f"V{HEADER.size}")[0]
    ends = np.zeros(frame.height, dtype="u8")
    variable: list[list[bytes]] = []
    for position, column in enumerate(table.features):
        series = frame.get_column(column.name)
        if series.null_count():
            rows["nulls"][:, position // 8] |= series.is_null().to_numpy().view("u1") << (position % 8)
        if is_variable(column.dtype):
            variable.append(_lists(series, column.dtype) if column.dtype.is_list else _byte_strings(series))
            ends += np.fromiter(map(len, variable[-1]), dtype="u8", count=frame.height)
            rows[f"f{position}"] = ends
        else:
            rows[f"f{position}"] = _scalars(series, column.dtype)
    if ends.size and int(ends.max()) >= _LIMIT:
        raise InvalidData(f"A row of {table.label()} holds {int(ends.max())} bytes, the limit is {_LIMIT - 1}.")
    values = _split(rows)
    if variable:
        values = list(map(b"".join, zip(values, *variable, strict=True)))
    if DELETED in frame.columns:
        end = header(layout_number, tombstone=True, online_only=online_only)
        for row in frame.get_column(DELETED).arg_true().to_list():
            values[row] = values[row][:RANK_BYTES] + end
    return values


@cache
def _row_type(layout: Layout) -> np.dtype[Any]:
    fields: list[tuple[str, Any]] = [(f"rank{position}", ">u8") for position in range(len(RANK))]
    fields += [("header", f"V{HEADER.size}"), ("nulls", "u1", (layout.null_bytes,))]  # type: ignore[list-item]  # a shape is the third of three
    fields += [(f"f{position}", f">u{width(dtype)}") for position, (_, dtype) in enumerate(layout.features)]
    return np.dtype(fields)


def _scalars(series: pl.Series, dtype: ValueType) -> Array:
    """Fixed-width values as unsigned numbers of their width, so that no float is converted; nulls are zero."""
    physical = series.to_physical()
    if physical.null_count():
        physical = physical.fill_null(value=False if dtype.element is ValueType.BOOL else 0)
    array: Array = physical.to_numpy()
    return array.view(f"u{TYPE_NAMES[dtype.element].width}")


def _byte_strings(series: pl.Series) -> list[bytes]:
    """Texts and byte strings as bytes; nulls are empty."""
    import polars as pl

    binary = series.cast(pl.Binary)
    parts: list[bytes] = (binary.fill_null(b"") if binary.null_count() else binary).to_list()
    return parts


def _lists(series: pl.Series, dtype: ValueType) -> list[bytes]:
    """Lists as bytes; null lists are empty, unlike empty lists, which hold their length."""
    flat = series.explode(empty_as_null=False, keep_nulls=False)
    missing = flat.is_null().to_list() if flat.null_count() else None
    size = TYPE_NAMES[dtype.element].width
    data = _scalars(flat, dtype).astype(f">u{size}").tobytes() if size else b""
    parts = [] if size else _byte_strings(flat)
    encoded: list[bytes] = []
    start = 0
    for length in series.list.len().to_list():
        if length is None:
            encoded.append(b"")
            continue
        end = start + length
        nulls = missing[start:end] if missing else ()
        body = data[start * size : end * size] if size else _joined(parts[start:end])
        encoded.append(_list_head(length, nulls) + body)
        start = end
    return encoded


def _list_head(length: int, nulls: Sequence[bool]) -> bytes:
    if not any(nulls):
        return length.to_bytes(OFFSET_BYTES, "big")
    bitmap = sum(1 << position for position, null in enumerate(nulls) if null)
    return (length | HAS_NULLS).to_bytes(OFFSET_BYTES, "big") + bitmap.to_bytes((length + 7) // 8, "little")


def _joined(parts: list[bytes]) -> bytes:
    ends = np.fromiter(accumulate(map(len, parts)), dtype="u8", count=len(parts))
    if ends.size and int(ends[-1]) >= _LIMIT:
        raise InvalidData(f"A list holds {int(ends[-1])} bytes, the limit is {_LIMIT - 1}.")
    return ends.astype(">u4").tobytes() + b"".join(parts)


def _biased(series: pl.Series, table: TableSchema) -> Array:
    """Numbers of the rank as unsigned ones of the same order, nulls as zero."""
    physical = series.to_physical()
    array: Array = (physical.fill_null(_LEAST) if physical.null_count() else physical).to_numpy()
    biased = array.astype("i8", copy=False).view("u8") ^ np.uint64(BIAS)
    if int((biased == 0).sum()) != series.null_count():
        raise InvalidData(f"{table.label()} has {series.name} = {_LEAST}, which is before all time.", field=series.name)
    return biased


def _split(rows: Array) -> list[bytes]:
    """The bytes of every element of an array."""
    parts: list[bytes] = rows.view(f"V{rows.dtype.itemsize}").tolist()
    return parts


def _check_columns(table: TableSchema, frame: pl.DataFrame) -> None:
    schema = frame.schema
    for column in (*table.keys, *table.features):
        expected = polars_type(column.dtype)
        if schema.get(column.name) != expected:
            found = schema.get(column.name, "missing")
            raise InvalidData(
                f"Column {column.name!r} of {table.label()} must be {expected}, it is {found}.", field=column.name
            )
    for name in (*table.key_names, RANK[0]):
        if name not in schema or frame.get_column(name).null_count():
            raise InvalidData(
                f"Rows of {table.label()} without {name} cannot be stored online.",
                field=name,
                hint="Keys and event times must not be null: drop such rows first.",
            )


def _name(column: Column) -> str:
    return column.name


__all__ = [
    "HEADER_END",
    "Layout",
    "encode_frame",
    "encode_keys",
    "event_time",
    "is_tombstone",
    "key_signature",
]
