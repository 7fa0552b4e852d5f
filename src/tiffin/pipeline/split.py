"""Split: which rows a model learns from, and which it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from tiffin.errors import InvalidArgument, InvalidData

SPLITS: Final = ("share", "time")


def check(split: str, size: float) -> None:
    """Raise InvalidArgument for a way of splitting that there is not, and for a share that leaves a side empty."""
    if split not in SPLITS:
        raise InvalidArgument(
            f"Rows are split by {' or '.join(SPLITS)}, not by {split!r}.", field="split", hint="Choose one of them."
        )
    if not 0 < size < 1:
        raise InvalidArgument(
            f"The share of validation must lie between 0 and 1, got {size}.",
            field="split_size",
            hint="Give 0.2 for one row in five.",
        )


def split_rows(
    frame: pl.DataFrame, *, split: str, size: float, seed: int, keys: Sequence[str], event: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training and validation rows, each in the order in which they came; about ``size`` of them are validation.

    By ``time``: no row of validation is before the last of training, and rows of one instant stay together. By
    ``share``: chosen at random from ``seed``, and rows of one key and instant stay together, since they hold the same
    features; which rows come first in the frame does not matter. InvalidData where a side would be empty.
    """
    check(split, size)
    chosen = _latest(frame, size, event) if split == "time" else _random(frame, size, seed, [*keys, event])
    training, validation = frame.filter(~chosen), frame.filter(chosen)
    if not (training.height and validation.height):
        raise InvalidData(
            f"{frame.height} rows split by {split} leave {training.height} to learn from and {validation.height} to "
            "judge by.",
            field="split_size",
            hint="Give more rows, of more than one instant, or another share.",
        )
    return training, validation


def _latest(frame: pl.DataFrame, size: float, event: str) -> pl.Series:
    times = frame[event].sort()
    last = times[max(round(frame.height * (1 - size)), 1) - 1]
    return frame.select(pl.col(event) > last).to_series()


def _random(frame: pl.DataFrame, size: float, seed: int, group: Sequence[str]) -> pl.Series:
    groups = frame.group_by(group).agg(pl.len().alias("$rows")).sort(group)
    # The legacy generator: the only one whose numbers stay the same over versions of numpy.
    order = np.random.RandomState(seed).permutation(groups.height)
    shuffled = groups[order]
    wanted = round(frame.height * size)
    # a group is taken while that brings the count of rows closer to what is wanted
    before = shuffled["$rows"].cum_sum() - shuffled["$rows"]
    taken = shuffled.with_columns((before + shuffled["$rows"] / 2 <= wanted).alias("$taken"))
    return frame.join(taken, on=group, how="left", nulls_equal=True, maintain_order="left")["$taken"]
