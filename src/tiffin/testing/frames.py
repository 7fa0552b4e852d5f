"""Comparing frames bit by bit: NaN equals NaN, and zero does not equal minus zero."""

from __future__ import annotations

import struct
from typing import Any

import polars as pl


def assert_same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """Both have the same columns, types, order and values."""
    assert left.schema == right.schema, f"{left.schema} != {right.schema}"
    assert left.height == right.height, f"{left.height} rows != {right.height} rows"
    for name in left.columns:
        for number, (one, other) in enumerate(zip(left[name].to_list(), right[name].to_list(), strict=True)):
            assert bits(one) == bits(other), f"column {name!r}, row {number}: {one!r} != {other!r}"


def bits(value: Any) -> Any:
    """Something that is equal for two values if they are the same bit by bit; all NaN count as one."""
    if isinstance(value, float):
        return "NaN" if value != value else struct.pack(">d", value)
    return [bits(item) for item in value] if isinstance(value, list) else value
