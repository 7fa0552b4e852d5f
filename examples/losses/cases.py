"""The cases: what is tried, what the right answer is, and how the two stores are called in the README.

``right`` is what Tiffin must answer; a test holds it to that. ``feast`` is what Feast 0.67.0 answered when this was
written, with the stores that `feast init` sets up (files and SQLite); ``python -m examples.losses`` asks it again.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """One loss. ``tried`` is a sentence; ``right`` and ``feast`` are plain data, and the two texts say them."""

    name: str
    tried: str
    feast: Any
    feast_says: str
    right: Any
    tiffin_says: str


CASES = (
    Case(
        "rows_kept",
        "A training set for 4 rows: one driver unknown, one with a fact that is too old, one asked for twice",
        "2 of 4 rows",
        "2 rows come back",
        "4 of 4 rows",
        "4 rows, in your order, nulls where nothing was known",
    ),
    Case(
        "nullable_integers",
        "The integer 9007199254740993 in a column that also has a null",
        [9007199254740992, None],
        "a float, off by one",
        [9007199254740993, None],
        "the integer",
    ),
    Case(
        "late_row_online",
        "The fact of day 4 is online; the fact of day 2 arrives late",
        [20],
        "overwrites the newer one",
        [40],
        "skipped, counted, and kept in the history",
    ),
    Case(
        "correction_online",
        "Two tellings of one event, the correction arriving first",
        [40],
        "the older telling stays",
        [46],
        "the correction stays",
    ),
    Case(
        "late_row_incremental",
        "A row of day 3 arrives after an incremental run that went up to day 5",
        [None],
        "never reaches the online store",
        [20],
        "the next run brings it",
    ),
    Case(
        "expired_online",
        "An online read of a fact older than its maximum age",
        [10],
        "the old value",
        [None],
        "no value, status `OUTSIDE_MAX_AGE`",
    ),
    Case(
        "future_row_online",
        "A row dated a year ahead is written online",
        [99],
        "served as if it were now",
        "InvalidData",
        "refused, with the row and the reason",
    ),
    Case(
        "wrong_type",
        "20.7 is written to an integer feature",
        [20],
        "cut to 20",
        "InvalidData",
        "refused, with the row and the reason",
    ),
)
