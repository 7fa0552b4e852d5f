"""The format of keys and values read byte after byte, written from its description and not from its code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from tiffin.types import ValueType

V = ValueType
WIDTHS = {V.INT32: 4, V.INT64: 8, V.DOUBLE: 8, V.FLOAT: 4, V.BOOL: 1, V.UNIX_TIMESTAMP: 8}


class Bits(int):
    """The bits of a float, so that NaNs and zeros compare as they are stored."""


def decode_value(data: bytes, layouts: Sequence[Sequence[tuple[str, V]]]) -> dict[str, Any]:
    """Everything in a value: ``rank`` as four numbers or None, ``deleted``, and the features; floats as bits."""
    found: dict[str, Any] = {"rank": [_rank(data[at : at + 8]) for at in (0, 8, 16, 24)]}
    assert data[32] == 1
    assert data[33] in (0, 1)
    found["deleted"] = data[33] == 1
    layout = layouts[int.from_bytes(data[34:38], "big")]
    if found["deleted"]:
        assert len(data) == 38
        return found
    at = 38 + -(-len(layout) // 8)
    bitmap = int.from_bytes(data[38:at], "little")
    variable = at + sum(WIDTHS.get(dtype, 4) for _, dtype in layout)
    for position, (name, dtype) in enumerate(layout):
        null = bool(bitmap >> position & 1)
        if dtype in WIDTHS:
            raw = data[at : at + WIDTHS[dtype]]
            at += WIDTHS[dtype]
            assert not null or not any(raw)
            found[name] = None if null else _scalar(raw, dtype)
            continue
        end = variable_base(layout, len(layout)) + int.from_bytes(data[at : at + 4], "big")
        at += 4
        raw = data[variable:end]
        variable = end
        assert not null or not raw
        found[name] = None if null else _list(raw, dtype.element) if dtype.is_list else _scalar(raw, dtype)
    assert variable == len(data)
    return found


def variable_base(layout: Sequence[tuple[str, V]], features: int) -> int:
    return 38 + -(-features // 8) + sum(WIDTHS.get(dtype, 4) for _, dtype in layout)


def _rank(raw: bytes) -> int | None:
    number = int.from_bytes(raw, "big")
    return None if number == 0 else number - 2**63


def _scalar(raw: bytes, dtype: V) -> Any:
    if dtype is V.STRING:
        return raw.decode()
    if dtype is V.BYTES:
        return raw
    if dtype is V.BOOL:
        assert raw in (b"\0", b"\1")
        return raw == b"\1"
    if dtype in (V.DOUBLE, V.FLOAT):
        return Bits(int.from_bytes(raw, "big"))
    return int.from_bytes(raw, "big", signed=True)


def _list(raw: bytes, element: V) -> list[Any]:
    head = int.from_bytes(raw[:4], "big")
    length = head & 0x7FFF_FFFF
    at = 4
    bitmap = 0
    if head >> 31:
        at += -(-length // 8)
        bitmap = int.from_bytes(raw[4:at], "little")
        assert bitmap
    items: list[Any] = []
    if element in WIDTHS:
        width = WIDTHS[element]
        items = [_scalar(raw[at + i * width : at + (i + 1) * width], element) for i in range(length)]
        assert at + length * width == len(raw)
    else:
        ends = struct.unpack_from(f">{length}I", raw, at)
        base = at + 4 * length
        start = 0
        for end in ends:
            items.append(_scalar(raw[base + start : base + end], element))
            start = end
        assert base + start == len(raw)
    return [None if bitmap >> i & 1 else item for i, item in enumerate(items)]
