"""Budgets: how many bytes a frame takes in memory, roughly, before it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

#: Bytes of a value whose length varies: a short text, or a short list.
_TEXT: Final = 40
_LIST: Final = 96
_WIDTHS: Final = {pl.Int32: 4, pl.Float32: 4, pl.Boolean: 1, pl.String: _TEXT, pl.Binary: _TEXT}

#: Sorting and matching hold this many copies of what they look at.
COPIES: Final = 4
#: Neither pieces nor ranges are cut smaller than this many rows.
LEAST_ROWS: Final = 4_096
#: Each bucket is at least one file.
MOST_BUCKETS: Final = 1_024
#: What the interpreter, Polars and the allocator keep beside the frames once they have worked.
_OVERHEAD: Final = 96_000_000
#: Pieces of work that share a budget at one time: what is read, divided, waits, is matched and is handed out.
_SHARES: Final = 6


def share_of(budget: int) -> int:
    """The bytes of one of the pieces of work that go on at one time."""
    return max(budget - _OVERHEAD, budget // 2) // _SHARES


def width(types: Iterable[pl.DataType]) -> int:
    """The bytes of one row."""
    return sum(_LIST if isinstance(dtype, pl.List) else _WIDTHS.get(type(dtype), 8) for dtype in types)


def rows_within(budget: int, row_bytes: int) -> int:
    """How many rows fit into a budget."""
    return max(LEAST_ROWS, budget // max(row_bytes, 1))


def buckets_within(budget: int, total_bytes: int) -> int:
    """Into how many buckets a total is divided so that each fits into a budget, up to MOST_BUCKETS."""
    return min(MOST_BUCKETS, max(1, -(-total_bytes // max(budget, 1))))
