from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import InvalidArgument, InvalidData
from tiffin.pipeline.split import split_rows

KEYS = ["driver"]
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=1, max_size=60)
SIZES = st.floats(0.05, 0.95)


def frame_of(rows: list[tuple[int, int]]) -> pl.DataFrame:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return pl.DataFrame(
        {
            "driver": pl.Series([key for key, _ in rows], dtype=pl.Int64),
            "at": pl.Series([noon + timedelta(days=day) for _, day in rows], dtype=pl.Datetime("us", "UTC")),
            "row": range(len(rows)),
        }
    )


def parts(frame: pl.DataFrame, split: str, size: float, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    try:
        return split_rows(frame, split=split, size=size, seed=seed, keys=KEYS, event="at")
    except InvalidData:
        return None


@given(ROWS, SIZES)
def test_by_time_nothing_of_validation_is_before_the_last_of_training(rows: list[tuple[int, int]], size: float) -> None:
    frame = frame_of(rows)
    found = parts(frame, "time", size)
    if found is None:
        return
    training, validation = found
    assert training["at"].max() < validation["at"].min()  # type: ignore[operator]
    assert sorted([*training["row"], *validation["row"]]) == list(range(len(rows)))
    assert training["row"].is_sorted()
    assert validation["row"].is_sorted()


def test_by_time_an_instant_is_where_the_share_falls() -> None:
    frame = frame_of([(1, day) for day in range(10)])
    training, validation = split_rows(frame, split="time", size=0.2, seed=0, keys=KEYS, event="at")
    assert (training.height, validation.height) == (8, 2)


@given(ROWS, SIZES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_by_share_a_key_and_instant_stay_together_in_whatever_order_rows_come(
    rows: list[tuple[int, int]], size: float, seed: int, random: object
) -> None:
    frame = frame_of(rows)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found, again = parts(frame, "share", size, seed), parts(frame[order], "share", size, seed)
    assert (found is None) == (again is None)
    if found is None or again is None:
        return
    training, validation = found
    assert not set(training.select("driver", "at").rows()) & set(validation.select("driver", "at").rows())
    assert sorted([*training["row"], *validation["row"]]) == list(range(len(rows)))
    assert set(validation["row"]) == set(again[1]["row"])
    assert training["row"].is_sorted()


@settings(max_examples=25)
@given(st.integers(50, 300), SIZES, st.integers(0, 100))
def test_by_share_the_share_is_kept_where_rows_stand_alone(count: int, size: float, seed: int) -> None:
    frame = frame_of([(row, 0) for row in range(count)])
    found = parts(frame, "share", size, seed)
    assert found is not None
    assert abs(found[1].height - count * size) <= 1


def test_another_seed_chooses_other_rows() -> None:
    frame = frame_of([(row, 0) for row in range(100)])
    chosen = [
        split_rows(frame, split="share", size=0.3, seed=n, keys=KEYS, event="at")[1]["row"].to_list() for n in (1, 2)
    ]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize(
    ("split", "size"), [("time", 0.0), ("time", 1.0), ("share", -1.0), ("share", 2.0), ("key", 0.2)]
)
def test_what_makes_no_sense_is_refused(split: str, size: float) -> None:
    with pytest.raises(InvalidArgument):
        split_rows(frame_of([(1, 1), (2, 2)]), split=split, size=size, seed=0, keys=KEYS, event="at")


def test_rows_of_one_instant_cannot_be_split_by_time() -> None:
    with pytest.raises(InvalidData, match="leave 4 to learn from and 0 to judge by"):
        split_rows(frame_of([(key, 0) for key in range(4)]), split="time", size=0.5, seed=0, keys=KEYS, event="at")
