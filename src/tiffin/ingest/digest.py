"""The hash of a batch's content: equal for equal rows, however they came and however they were cut into frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

import polars as pl

from tiffin.offline.layout import delta_type

_BITS: Final = 63


class Digest:
    """A running hash of rows. It depends on no library's own hashing, so that a key stays comparable for ever.

    Every column feeds streams of its own (validity, lengths, values), whose bytes do not depend on where frames end.
    """

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}
        self._filled: set[str] = set()
        self._rows = 0

    def update(self, frame: pl.DataFrame) -> None:
        """Add rows, whose columns have the same types in every frame."""
        self._rows += frame.height
        for name in frame.columns:
            if frame[name].null_count() < frame.height:
                self._filled.add(f"{name}\0")
            self._feed(f"{name}\0", frame[name])

    def value(self) -> int:
        """63 bits of the hash. A column without any value counts as absent."""
        whole = blake2b(str(self._rows).encode(), digest_size=8)
        for path in sorted(self._streams):
            if path[: path.index("\0") + 1] in self._filled:
                whole.update(path.encode() + self._streams[path].digest())
        return int.from_bytes(whole.digest(), "big") >> (64 - _BITS)

    def _feed(self, path: str, column: pl.Series) -> None:
        dtype = column.dtype
        self._add(f"{path}valid", column.is_not_null().cast(pl.UInt8))
        if isinstance(dtype, pl.List):
            self._add(f"{path}length", column.list.len().fill_null(0).cast(pl.UInt64))
            self._feed(f"{path}item/", column.drop_nulls().explode(empty_as_null=False))
        elif isinstance(dtype, pl.Struct):
            for field in dtype.fields:
                self._feed(f"{path}field/{field.name}/", column.struct.field(field.name))
        elif isinstance(dtype, pl.String | pl.Binary | pl.Decimal):
            values = column.cast(pl.String) if isinstance(dtype, pl.Decimal) else column
            raw = values.cast(pl.Binary).drop_nulls()
            self._add(f"{path}length", raw.bin.size().cast(pl.UInt64))
            self._stream(f"{path}bytes").update(b"".join(raw))
        elif isinstance(dtype, pl.Boolean):
            self._add(f"{path}boolean", column.fill_null(value=False).cast(pl.UInt8))
        else:
            self._add(f"{path}{delta_type(dtype)}", column.to_physical().fill_null(0))

    def _add(self, path: str, values: pl.Series) -> None:
        self._stream(path).update(values.to_numpy())

    def _stream(self, path: str) -> Any:
        return self._streams.setdefault(path, blake2b(digest_size=32))


def digest(frames: Iterable[pl.DataFrame], columns: Mapping[str, pl.DataType]) -> int:
    """The hash of all rows of frames, each column in one type."""
    running = Digest()
    for frame in frames:
        running.update(frame.select(pl.col(name).cast(columns[name]) for name in frame.columns))
    return running.value()


def with_refused(content: int, positions: Iterable[pl.Series]) -> int:
    """The hash of a batch of which rows were refused, by their positions: they are of its content, too.

    Their values are not: those come in whatever type they were given, so that one batch would have several hashes.
    """
    whole = blake2b(content.to_bytes(8, "big"), digest_size=8)
    for rows in positions:
        whole.update(rows.cast(pl.Int64).to_numpy().tobytes())
    return int.from_bytes(whole.digest(), "big") >> (64 - _BITS)
