"""Layout: the ordered features of a stored row, and the widths and offsets that follow from them.

The bytes of a value, all integers big-endian (the golden vectors in the tests hold this format fast)::

    rank      32  event, created, ingested, row: each signed 64-bit plus 2**63, null is 0 (so nulls are smallest)
    version    1  FORMAT
    flags      1  TOMBSTONE: the key is deleted; nothing follows the header.
                  ONLINE_ONLY: no history holds the row; it was written to the online store alone
    layout     4  the number that the store gave to the row's layout
    nulls      n  one bit a feature, least significant first, set where the value is null; n = ceil(features / 8)
    fixed      m  a feature after the other: a scalar in its width, or the end of its variable bytes in 4
    variable      the bytes of strings, byte strings and lists, one after the other; a null takes none

A list is its length in 4 bytes, whose highest bit tells whether a bitmap of nulls (as above) follows; then its
elements, scalars in their width, strings and byte strings as the end of each in 4 bytes and then all their bytes.
Nulls hold zeros where a width is due. Timestamps are signed microseconds; floats keep all their bits.
"""

from __future__ import annotations

import struct
from functools import cache
from hashlib import blake2b
from typing import Final

import msgspec

from tiffin.definitions.schema import Column
from tiffin.errors import CorruptData
from tiffin.online.base import RANK_BYTES
from tiffin.types import TYPE_NAMES, ValueType

#: The version of the value format, and of the encoding of layouts.
FORMAT: Final = 1
#: The flag of a deleted key.
TOMBSTONE: Final = 1
#: The flag of a row that was written to the online store alone, so that who compares it with the history can tell.
ONLINE_ONLY: Final = 2
#: Version, flags, layout number: the bytes after the rank that say how to read the rest.
HEADER: Final = struct.Struct(">BBI")
HEADER_END: Final = RANK_BYTES + HEADER.size
#: Added to a signed 64-bit number so that its bytes sort as the number does.
BIAS: Final = 1 << 63
#: Set in the length of a list that holds nulls.
HAS_NULLS: Final = 1 << 31
#: The width of an end offset and of a list's length.
OFFSET_BYTES: Final = 4


class Layout(msgspec.Struct, frozen=True):
    """The names and types of a row's features, in the order in which they are stored."""

    features: tuple[tuple[str, ValueType], ...]

    @classmethod
    def of(cls, features: tuple[Column, ...]) -> Layout:
        """The layout in which rows of these features are written now."""
        return cls(tuple((column.name, column.dtype) for column in features))

    def to_bytes(self) -> bytes:
        """The bytes by which a store knows the layout: equal layouts have equal bytes."""
        document = {"version": FORMAT, "features": [[name, dtype.name] for name, dtype in self.features]}
        return msgspec.json.encode(document)

    @classmethod
    def from_bytes(cls, data: bytes) -> Layout:
        """Read what :meth:`to_bytes` made; CorruptData where it did not."""
        try:
            document = msgspec.json.decode(data, type=_Document)
            features = tuple((name, ValueType[dtype]) for name, dtype in document.features)
        except (msgspec.DecodeError, KeyError) as error:
            raise CorruptData(f"A layout of the online store cannot be read: {error}.") from error
        if document.version != FORMAT:
            raise CorruptData(
                f"A layout of the online store has version {document.version}, this is version {FORMAT}.",
                hint="It was written by a newer Tiffin: upgrade this one.",
            )
        return cls(features)

    @property
    def null_bytes(self) -> int:
        """The width of the bitmap of nulls."""
        return (len(self.features) + 7) // 8


class _Document(msgspec.Struct):
    version: int
    features: list[tuple[str, str]]


def width(dtype: ValueType) -> int:
    """The bytes that a feature takes in the fixed part."""
    return (0 if dtype.is_list else TYPE_NAMES[dtype].width) or OFFSET_BYTES


def is_variable(dtype: ValueType) -> bool:
    """Whether a feature has bytes in the variable part."""
    return dtype.is_list or TYPE_NAMES[dtype].width == 0


def header(layout_number: int, *, tombstone: bool = False, online_only: bool = False) -> bytes:
    """The header of values of a layout."""
    return HEADER.pack(FORMAT, TOMBSTONE * tombstone | ONLINE_ONLY * online_only, layout_number)


def layout_number(header: bytes) -> int:
    """The layout's number in a header; CorruptData where the format is another."""
    if len(header) == HEADER.size and header[0] == FORMAT:
        number: int = HEADER.unpack(header)[2]
        return number
    found = header[0] if header else "none"
    raise CorruptData(
        f"A value of the online store has format {found}, this is format {FORMAT}.",
        hint="It was written by a newer Tiffin, or by something else: upgrade, or materialize the table again.",
    )


def event_time(value: bytes) -> int:
    """The event time of a stored value, in UTC microseconds."""
    return int.from_bytes(value[:8], "big") - BIAS


def is_tombstone(value: bytes) -> bool:
    """Whether a stored value says that its key is deleted."""
    return bool(value[RANK_BYTES + 1] & TOMBSTONE)


def is_online_only(value: bytes) -> bool:
    """Whether a stored value was written to the online store alone."""
    return bool(value[RANK_BYTES + 1] & ONLINE_ONLY)


@cache
def key_signature(keys: tuple[Column, ...]) -> bytes:
    """The first 4 bytes of keys of these entities."""
    text = "\n".join(f"{column.name}:{column.dtype.name}" for column in sorted(keys, key=lambda column: column.name))
    return blake2b(text.encode(), digest_size=4).digest()
