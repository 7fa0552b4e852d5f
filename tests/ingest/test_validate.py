"""Validation and expectations, row by row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingest.lakes import DAY, drivers, put, rows, stored
from tiffin.definitions.expectation import AnyExpectation, Between, InSet, Matches, NotNull
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidData, InvalidDefinition
from tiffin.ingest.text import Given
from tiffin.ingest.validate import Validator
from tiffin.types import ValueType


def bad(frame: pl.DataFrame, **options: Any) -> list[int]:
    """The rows that are refused."""
    checked = Validator(drivers("/lake", **options)).check(Given(frame), 0)
    positions: list[int] = checked.bad["_row"].to_list()
    kept = [n for n in range(frame.height) if n not in positions]
    assert checked.good.height == len(kept)
    return positions


@pytest.mark.parametrize("column", ["driver_id", "datetime", "created", "acc_rate", "trips"])
def test_every_declared_column_must_be_there(column: str) -> None:
    with pytest.raises(InvalidData, match=f"no column '{column}'") as caught:
        bad(rows().drop(column).with_columns(dat=pl.lit(1)))
    assert caught.value.field == column
    assert caught.value.hint


def test_several_missing_columns_are_told_at_once() -> None:
    with pytest.raises(InvalidData, match="Also missing: 'trips'"):
        bad(rows().drop("acc_rate", "trips"))


def test_keys_and_event_times_are_never_null_and_features_may_be() -> None:
    assert bad(rows(3, driver_id=[1, None, 3])) == [1]
    assert bad(rows(3, datetime=[DAY, DAY, None])) == [2]
    assert bad(rows(3, created=[None, None, DAY], acc_rate=[None] * 3, trips=[None] * 3)) == []


def test_event_times_lie_in_the_years_that_can_be_shown() -> None:
    micros = pl.Series([-(2**62), -62_135_596_800_000_000, 253_402_300_799_999_999, 253_402_300_800_000_000])
    assert bad(rows(4, datetime=micros.cast(pl.Datetime("us", "UTC")))) == [0, 3]
    seconds = [1_788_220_800, 1_788_220_800_000]  # the second is in milliseconds
    assert bad(rows(2, datetime=seconds)) == [1]


def test_all_reasons_of_a_row_are_told() -> None:
    checked = Validator(drivers("/lake")).check(Given(rows(2, driver_id=[None, 1], trips=[0.5, 1.0])), 7)
    assert checked.bad["_row"].to_list() == [7]
    assert "key 'driver_id' is null" in checked.bad["_reason"][0]
    assert "no exact reading as INT32" in checked.bad["_reason"][0]


def test_an_error_shows_the_first_rows_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="25 rows are invalid") as caught:
        put(drivers(tmp_path / "lake"), rows(25, driver_id=[None] * 25), tmp_path)
    assert len(caught.value.rejected) == 10
    assert caught.value.to_dict()["rejected"][0]["row"] == 0


EXPECTED: list[tuple[AnyExpectation, ValueType, list[Any], list[int]]] = [
    (NotNull("f"), ValueType.INT64, [1, None, 0], [1]),
    (Between("f", 0, 1), ValueType.DOUBLE, [0.0, 1.0, -0.1, 1.1, None, float("nan")], [2, 3, 5]),
    (Between("f", minimum=1), ValueType.DOUBLE, [0.0, float("nan"), float("inf")], [0, 1]),
    (Between("f", maximum=3), ValueType.INT32, [3, 4, None], [1]),
    (Between("f", 0.5, 2.5), ValueType.INT64, [0, 1, 2, 3], [0, 3]),
    (Between("f", minimum=1_000), ValueType.UNIX_TIMESTAMP, [999, 1_000, None], [0]),
    (InSet("f", ["a", "b"]), ValueType.STRING, ["a", "c", None, ""], [1, 3]),
    (InSet("f", [1, 2.0]), ValueType.INT64, [1, 2, 3, None], [2]),
    (InSet("f", [True]), ValueType.BOOL, [True, False, None], [1]),
    (InSet("f", [True, "1"]), ValueType.INT64, [1, None], [0]),
    (InSet("f", [0.5]), ValueType.DOUBLE, [0.5, 0.25, float("nan")], [1, 2]),
    (InSet("f", ["x"]), ValueType.BYTES, [b"x", b"y"], [1]),
    (Matches("f", "^[a-z]+$"), ValueType.STRING, ["abc", "aBc", None, ""], [1, 3]),
    (Matches("f", "b"), ValueType.STRING, ["abc", "ac"], [1]),
]


@pytest.mark.parametrize(("expectation", "dtype", "values", "refused"), EXPECTED)
def test_expectations(expectation: AnyExpectation, dtype: ValueType, values: list[Any], refused: list[int]) -> None:
    frame = rows(len(values)).with_columns(pl.Series("f", values))
    features = (Column("f", dtype, "f"),)
    assert bad(frame, features=features, expectations=[expectation]) == refused


@pytest.mark.parametrize(
    ("expectation", "dtype"),
    [
        (Between("f", 0), ValueType.STRING),
        (Between("f", 0), ValueType.INT64_LIST),
        (InSet("f", [1]), ValueType.INT64_LIST),
        (Matches("f", "a"), ValueType.INT64),
    ],
)
def test_expectations_without_a_meaning_are_refused_at_once(expectation: AnyExpectation, dtype: ValueType) -> None:
    with pytest.raises(InvalidDefinition, match="has no meaning for its type"):
        Validator(drivers("/lake", features=(Column("f", dtype, "f"),), expectations=[expectation]))


def test_expectations_on_keys_and_on_expressions() -> None:
    features = (Column("twice", ValueType.INT64, "trips * 2"),)
    checks = [Between("twice", maximum=2), InSet("driver_id", [1001, 1003])]
    assert bad(rows(3), features=features, expectations=checks) == [1, 2]


def test_deletions_have_no_values_to_judge() -> None:
    frame = rows(3, trips=[None, None, 1], gone=[True, False, None])
    assert bad(frame, deleted="gone", expectations=[NotNull("trips")]) == [1]
    assert bad(frame.drop("gone"), deleted="gone", expectations=[NotNull("trips")]) == [0, 1]


def test_results_of_expressions_must_fit() -> None:
    features = (Column("half", ValueType.INT32, "trips / 2.0"),)
    assert bad(rows(3, trips=[2, 3, 4]), features=features) == [1]
    keys = (Column("driver_id", ValueType.INT64, "NULLIF(driver_id, 1002)"),)
    assert bad(rows(3), keys=keys) == [1]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("SUM(trips)", "computed from other rows"),
        ("trips - AVG (trips)", "depends on others"),
        ("SUM (trips) OVER (PARTITION BY driver_id)", "computed from other rows"),
        ("trips + EXTRACT(hour FROM CURRENT_TIME)", "another each time"),
        ("trips +", "neither a column"),
        ("trips; DROP TABLE x", "neither a column"),
        ("nosuch(trips)", "neither a column"),
        ("trips, acc_rate", "neither a column"),
    ],
)
def test_mappings_that_are_no_scalar_expressions(expression: str, said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        bad(rows(), features=(Column("f", ValueType.INT64, expression),))


def test_a_column_whose_name_is_no_identifier_is_a_column(tmp_path: Path) -> None:
    features = (Column("rate", ValueType.DOUBLE, "acc rate %"), Column("up", ValueType.STRING, 'UPPER("a.b")'))
    frame = rows(2).with_columns(pl.Series("acc rate %", [1.5, 2.5]), pl.Series("a.b", ["x", "y"]))
    put(drivers(tmp_path / "lake", features=features), frame, tmp_path)
    assert stored(tmp_path / "lake").columns[-4:] == ["acc rate %", "a.b", "_ingested_at", "_row"]


def test_one_column_declared_in_two_types_is_stored_as_it_is() -> None:
    features = (Column("whole", ValueType.INT32, "trips"), Column("exact", ValueType.DOUBLE, "trips"))
    checked = Validator(drivers("/lake", features=features)).check(Given(rows(2, trips=[1.0, 1.5])), 0)
    assert checked.bad["_row"].to_list() == [1]
    assert checked.good["trips"].dtype == pl.Float64


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pl.Series([1, 2], dtype=pl.UInt8), pl.Int16()),
        (pl.Series([1, 2], dtype=pl.UInt64), pl.Decimal(20, 0)),
        (pl.Series(["a", "b"], dtype=pl.Categorical), pl.String()),
        (pl.Series([datetime(2026, 1, 1, tzinfo=UTC)] * 2).dt.cast_time_unit("ns"), pl.Datetime("us", "UTC")),
        (pl.Series([None, None]), pl.Null()),
    ],
)
def test_columns_read_by_expressions_keep_their_type_as_far_as_a_lake_has_it(
    values: pl.Series, dtype: pl.DataType
) -> None:
    features = (Column("seen", ValueType.BOOL, "raw IS NULL"),)
    checked = Validator(drivers("/lake", features=features)).check(Given(rows(2).with_columns(raw=values)), 0)
    assert checked.good["raw"].dtype == dtype


def test_what_no_lake_can_store_is_refused() -> None:
    features = (Column("seen", ValueType.BOOL, "raw IS NULL"),)
    with pytest.raises(InvalidData, match="cannot be stored"):
        bad(rows(1).with_columns(raw=pl.lit("x").str.len_chars().cast(pl.Duration("us"))), features=features)
