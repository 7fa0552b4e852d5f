"""Keys of a store back to the entities they were made of: ``codec.py`` tells the format."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from tiffin.definitions.schema import Column
from tiffin.online.codec import encode_keys, key_signature
from tiffin.online.layout import OFFSET_BYTES, is_variable
from tiffin.types import TYPE_NAMES, ValueType, polars_type

if TYPE_CHECKING:
    import polars as pl

_SIGNATURE: Final = 4


class KeyDecoder:
    """Reads keys of one set of entities."""

    def __init__(self, keys: tuple[Column, ...]) -> None:
        self._keys = keys
        self._ordered = sorted(keys, key=lambda column: column.name)
        self._signature = key_signature(keys)

    def frame(self, keys: Sequence[bytes]) -> tuple[pl.DataFrame, list[bytes]]:
        """The entities of keys as columns, and the keys that are none of these entities', or of no entities at all.

        The rows of the frame are those of the other keys, in their order.
        """
        import polars as pl

        rows: list[list[Any]] = []
        good: list[bytes] = []
        bad: list[bytes] = []
        for key in keys:
            row = self._row(key)
            if row is None:
                bad.append(key)
            else:
                rows.append(row)
                good.append(key)
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in self._ordered]
        frame = pl.DataFrame(
            [
                pl.Series(column.name, list(values), polars_type(column.dtype))
                for column, values in zip(self._ordered, columns, strict=True)
            ]
        ).select([column.name for column in self._keys])
        # What does not come out as it went in was never made of entities, such as a truth value of 2.
        again = encode_keys(self._keys, frame)
        same = [key == made for key, made in zip(good, again, strict=True)]
        if not all(same):
            bad += [key for key, holds in zip(good, same, strict=True) if not holds]
            frame = frame.filter(pl.Series(same))
        return frame, bad

    def _row(self, key: bytes) -> list[Any] | None:
        """The values of a key, timestamps as microseconds; None where its bytes cannot be read."""
        if key[:_SIGNATURE] != self._signature:
            return None
        values: list[Any] = []
        at = _SIGNATURE
        try:
            for column in self._ordered:
                value, at = _part(key, at, column.dtype, last=column is self._ordered[-1])
                values.append(value)
        except (struct.error, UnicodeDecodeError):
            return None
        return values if at == len(key) else None


def _part(key: bytes, at: int, dtype: ValueType, *, last: bool) -> tuple[Any, int]:
    """One value of a key and where the next begins."""
    if not is_variable(dtype):
        form = struct.Struct(f">{TYPE_NAMES[dtype].struct}")
        return form.unpack_from(key, at)[0], at + form.size
    end = len(key)
    if not last:
        start = at + OFFSET_BYTES
        at, end = start, start + struct.unpack_from(">I", key, at)[0]
        if end > len(key):
            raise struct.error("a text is cut short")
    data = key[at:end]
    return (data.decode() if dtype is ValueType.STRING else data), end
