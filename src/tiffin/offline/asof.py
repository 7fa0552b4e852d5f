"""The point-in-time match: which row of a history wins for each pair of keys and instant (semantics, section 3).

Only keys, times and row numbers take part, so that the memory needed does not grow with the features. Work grows with
``n log n`` in the rows of the history, whatever its depth per key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tiffin.definitions.schema import CREATED_TS, DELETED, EVENT_TS
from tiffin.offline.runs import AT

#: The instant of an entity row, as an integer of microseconds.
INSTANT_COLUMN: Final = "$t"

#: An age no two instants can differ by.
_ENDLESS: Final = 2**62
_SLOT: Final = "$slot"
_GROUP: Final = "$group"
_NEVER: Final = np.iinfo(np.int64).max

Ints = npt.NDArray[np.int64]


def in_rank_order(history: pl.DataFrame, rank: Sequence[str]) -> pl.DataFrame:
    """The rows by ascending rank, equal ranks in the order they came in; ``rank`` is most significant first.

    The whole rank costs only where events coincide and do not lie in its order already: sorting by one column at a
    time, least significant first, is cheaper than by all at once.
    """
    ordered = _sorted(history, rank[0])
    if len(rank) > 1 and _is_broken(ordered, rank):
        for name in reversed(rank):
            ordered = _sorted(ordered, name)
    return ordered


def latest_of_keys(history: pl.DataFrame, keys: Sequence[str], rank: Sequence[str]) -> pl.DataFrame:
    """The row of greatest rank of every key."""
    return in_rank_order(history, rank).unique(keys, keep="last", maintain_order=True)


def winners(
    asked: pl.DataFrame,
    history: pl.DataFrame,
    keys: Sequence[str],
    rank: Sequence[str],
    *,
    max_age: int | None = None,
    known_by_row: bool = False,
) -> pl.Series:
    """The number (column AT) of the winner for each row of ``asked``, null where there is none or it is deleted.

    ``asked`` has ``keys`` and the instant; a null in any of them has no winner. ``history`` has no null keys or
    events. A ``max_age`` of None or 0 is no limit; ``known_by_row`` leaves out rows created after the instant.
    """
    ordered = in_rank_order(history, rank).with_columns(pl.col(EVENT_TS).to_physical())
    rows = asked.with_row_index(_SLOT).drop_nulls()
    match = _known(rows, ordered, keys) if known_by_row else _last(rows, ordered, keys)
    valid = pl.col(AT).is_not_null()
    if max_age and max_age < _ENDLESS:
        valid &= pl.col(EVENT_TS) >= pl.col(INSTANT_COLUMN) - max_age
    if DELETED in match.columns:
        valid &= ~pl.col(DELETED)
    found = match.filter(valid).select(_SLOT, AT)
    answer = np.zeros(asked.height, dtype=np.uint32)
    filled = np.zeros(asked.height, dtype=np.bool_)
    slots = found[_SLOT].to_numpy()
    answer[slots] = found[AT].to_numpy()
    filled[slots] = True
    frame = pl.DataFrame({AT: answer, "filled": filled})
    return frame.select(pl.when("filled").then(AT).alias(AT)).to_series()


def _last(rows: pl.DataFrame, ordered: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Each row beside the last of its key's history that is not later. Of equal events the last one is the winner."""
    extra = [name for name in (EVENT_TS, DELETED, AT) if name in ordered.columns]
    right = ordered.select(*keys, pl.col(EVENT_TS).alias(INSTANT_COLUMN), *extra)
    return rows.sort(INSTANT_COLUMN).join_asof(
        right, on=INSTANT_COLUMN, by=list(keys), strategy="backward", check_sortedness=False
    )


def _known(rows: pl.DataFrame, ordered: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """As :func:`_last`, among the rows of the history that were created by the instant."""
    groups = rows.select(keys).unique(maintain_order=True).with_row_index(_GROUP)
    grouped = ordered.join(groups, on=list(keys), how="inner", maintain_order="left").sort(_GROUP, maintain_order=True)
    group = rows.join(groups, on=list(keys), how="left", maintain_order="left")[_GROUP].to_numpy().astype(np.int64)
    sizes = np.bincount(grouped[_GROUP].to_numpy(), minlength=groups.height)
    ends = np.cumsum(sizes)
    events = grouped[EVENT_TS].to_numpy()
    created = grouped[CREATED_TS].to_physical().fill_null(_NEVER).to_numpy()
    instants = rows[INSTANT_COLUMN].to_numpy()
    first = ends[group] - sizes[group]
    last = _last_not_after(events, instants, first, ends[group])
    place = _last_at_most(created, instants, last)
    found = np.flatnonzero(place >= first)
    extra = [name for name in (EVENT_TS, DELETED, AT) if name in grouped.columns]
    return pl.concat(
        [rows.select(pl.all().gather(found)), grouped.select(pl.col(extra).gather(place[found]))], how="horizontal"
    )


def _last_not_after(events: Ints, instants: Ints, low: Ints, high: Ints) -> Ints:
    """The last position in ``[low, high)`` whose event is not after the instant, ``low - 1`` where there is none."""
    low, high = low.copy(), high.copy()
    while True:
        open_ = np.flatnonzero(low < high)
        if open_.size == 0:
            return low - 1
        middle = (low[open_] + high[open_]) >> 1
        fits = events[middle] <= instants[open_]
        low[open_[fits]] = middle[fits] + 1
        high[open_[~fits]] = middle[~fits]


def _last_at_most(values: Ints, limits: Ints, places: Ints) -> Ints:
    """For each place the greatest position not above it whose value is at most the limit, -1 where there is none.

    A segment tree of minima: climb to the nearest block on the left that holds such a value, then descend into it.
    """
    size = 1 << max(len(values) - 1, 0).bit_length()
    tree = np.full(2 * size, _NEVER, dtype=np.int64)
    tree[size : size + len(values)] = values
    for level in range(size.bit_length() - 2, -1, -1):
        begin = 1 << level
        tree[begin : 2 * begin] = np.minimum(tree[2 * begin : 4 * begin : 2], tree[2 * begin + 1 : 4 * begin : 2])
    answer = np.full(len(places), -1, dtype=np.int64)
    rows = np.flatnonzero(places >= 0)
    nodes = places[rows] + size
    while rows.size:
        hit = tree[nodes] <= limits[rows]
        answer[rows[hit]] = _descend(tree, nodes[hit], limits[rows[hit]], size)
        rows, nodes = rows[~hit], nodes[~hit]
        # Strip the trailing zeros: the first block on the way up that has a neighbour on its left.
        nodes = nodes // (nodes & -nodes)
        rows, nodes = rows[nodes > 1], nodes[nodes > 1] - 1
    return answer


def _descend(tree: Ints, nodes: Ints, limits: Ints, size: int) -> Ints:
    """The last leaf below each node whose value is at most the limit."""
    while True:
        inner = np.flatnonzero(nodes < size)
        if inner.size == 0:
            return nodes - size
        right = 2 * nodes[inner] + 1
        nodes[inner] = np.where(tree[right] <= limits[inner], right, right - 1)


def _sorted(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    if frame[name].null_count() == 0 and frame[name].to_physical().is_sorted():
        return frame
    return frame.sort(name, maintain_order=True, nulls_last=False)


def _is_broken(ordered: pl.DataFrame, rank: Sequence[str]) -> bool:
    """Whether neighbours with one event lie against the order of the rest of the rank."""
    least = np.iinfo(np.int64).min
    here = [pl.col(name).to_physical().fill_null(least) for name in rank]
    later = pl.lit(value=False)
    for column in reversed(here[1:]):
        before = column.shift(1)
        later = (before > column) | ((before == column) & later)
    same = here[0] == here[0].shift(1)
    return bool(ordered.select((same & later).any()).item())
