"""Corruptions of stored rows, each planted behind the back of the store under a key of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import polars as pl

from tests.ingest.routes import KEY, SECOND, A, B
from tiffin import ValueType
from tiffin.definitions.schema import Column
from tiffin.online.codec import encode_keys

FEATURES: Final = (
    A,
    B,
    Column("name", ValueType.STRING, "name"),
    Column("tags", ValueType.INT64_LIST, "tags"),
    Column("maybe", ValueType.INT32, "maybe"),
)
#: Rows of the table beyond those that are corrupted.
ROWS: Final = 60

_HEADER: Final = 32
_NULLS: Final = 38
_FIXED: Final = 39

Planted = dict[bytes, bytes | None]
"""What then lies under keys, None for nothing."""


class Corruption(NamedTuple):
    """How the row of a key is spoilt: from its key and value to what then lies under keys; and what verify calls it."""

    name: str
    kind: str
    plant: Callable[[bytes, bytes], Planted]


def history(now: int) -> pl.DataFrame:
    """A row of every key, deleted where the key divides by ten."""
    keys = range(ROWS)
    return pl.DataFrame(
        {
            "k": list(keys),
            "at": pl.Series([now - (1000 + key) * SECOND for key in keys]).cast(pl.Datetime("us", "UTC")),
            "a": [key * 7 for key in keys],
            "b": [key / 8 for key in keys],
            "name": [f"driver {key}" for key in keys],
            "tags": [[key, None, 3] for key in keys],
            "maybe": pl.Series([None if key % 2 else key for key in keys], dtype=pl.Int32),
            "gone": [key % 10 == 0 for key in keys],
        }
    )


def key_of(number: int) -> bytes:
    return encode_keys((KEY,), pl.DataFrame({"k": [number]}))[0]


def _edit(start: int, data: bytes) -> Callable[[bytes, bytes], Planted]:
    return lambda key, value: {key: value[:start] + data + value[start + len(data) :]}


def _flip(at: int) -> Callable[[bytes, bytes], Planted]:
    return lambda key, value: {key: value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :]}


def _later(start: int, seconds: int) -> Callable[[bytes, bytes], Planted]:
    """Moves one of the instants of the rank."""

    def plant(key: bytes, value: bytes) -> Planted:
        (instant,) = struct.unpack_from(">Q", value, start)
        return {key: value[:start] + struct.pack(">Q", instant + seconds * SECOND) + value[start + 8 :]}

    return plant


CORRUPTIONS: Final = (
    Corruption("a byte of a number", "different", _flip(_FIXED + 7)),
    Corruption("a byte of a fraction", "different", _flip(_FIXED + 8)),
    Corruption("a byte of a text", "different", lambda k, v: {k: v.replace(b"driver", b"drivel")}),
    Corruption("a byte of a list", "different", lambda k, v: {k: v[:-1] + bytes([v[-1] ^ 1])}),
    Corruption("a null that is none", "different", _edit(_NULLS, b"\x11")),
    Corruption("a value that was null", "different", _edit(_NULLS, b"\0")),
    Corruption("an event that is earlier", "stale", _later(0, -1)),
    Corruption("an event that is later", "different", _later(0, 1)),
    Corruption("an event of a far future", "different", _later(0, 10**9)),
    Corruption("a commit that is earlier", "stale", _later(16, -1)),
    Corruption("a place in the commit that is later", "different", lambda k, v: {k: v[:24] + b"\xff" + v[25:]}),
    Corruption("a row that is gone", "missing", lambda k, v: {k: None}),
    Corruption("a row under the key of nobody", "orphaned", lambda k, v: {key_of(10_001): v}),
    Corruption("a key that is cut short", "orphaned", lambda k, v: {k[:-1]: v}),
    Corruption("a key of other entities", "orphaned", lambda k, v: {b"\1\2\3\4" + k[4:]: v}),
    Corruption("a layout that there is not", "different", _edit(_HEADER + 2, b"\0\0\0\x07")),
    Corruption("a format that there is not", "different", _edit(_HEADER, b"\x09")),
    Corruption("a flag of the online store alone", "different", _edit(_HEADER + 1, b"\x02")),
    Corruption("a deletion that nobody asked for", "different", lambda k, v: {k: v[:33] + b"\x01" + v[34:38]}),
    Corruption("a deletion that was undone", "different", lambda k, v: {k: v[:33] + b"\0" + v[34:]}),
    Corruption("a value that is cut short", "different", lambda k, v: {k: v[:-5]}),
    Corruption("a value of a few bytes", "different", lambda k, v: {k: v[:11]}),
    Corruption("a value of no bytes", "different", lambda k, v: {k: b""}),
    Corruption("bytes behind the end", "different", lambda k, v: {k: v + b"\0"}),
)

#: The key of each: undone is a deletion, and only odd keys have a null.
KEYS: Final = {
    corruption.name: 20 if corruption.name == "a deletion that was undone" else 2 * number + 1
    for number, corruption in enumerate(CORRUPTIONS)
}
