"""Columns of JSON's values: one type each, or the JSON itself where the values are of several."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl


def json_column(name: str, values: list[Any]) -> pl.Series | None:
    """A column of values of one type, null where a row lacks it; None where the types are mixed."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {list}:
        inner = json_column(name, [item for value in values if value is not None for item in value])
        return None if inner is None else pl.Series(name, values, pl.List(inner.dtype))
    if kinds == {int, float}:
        exact = all(abs(value) < 2**53 for value in values if isinstance(value, int))
        return pl.Series(name, values, pl.Float64, strict=False) if exact else None
    if kinds == {int}:
        small = all(value is None or -(2**63) <= value < 2**63 for value in values)
        return pl.Series(name, values, pl.Int64) if small else None
    if len(kinds) > 1:
        return None
    return pl.Series(name, values)


def encoded(value: Any) -> str | None:
    """A value as JSON; null stays null."""
    return None if value is None else msgspec.json.encode(value).decode()


def is_nested(values: list[Any]) -> bool:
    """Whether a column holds objects, or lists of lists: no declared type does."""
    return any(
        isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value))
        for value in values
    )
