"""Entity sources: every kind of table a caller may hand over becomes rows with typed keys and instants."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.source import FileSource
from tiffin.errors import InvalidArgument, InvalidData, NotFound
from tiffin.offline.entities import open_entities, timestamp_column
from tiffin.types import ValueType

MOMENT = datetime(2026, 9, 1, 12, 0, 0, 123_456, UTC)
DRIVER = {"driver": ValueType.INT64}
ROWS = {"label": ["a", "b"], "driver": [7, None], "event_timestamp": [MOMENT, MOMENT]}


def frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})


def kinds(folder: Path) -> dict[str, Any]:
    """The same rows as every kind of source."""
    rows = frame()
    rows.write_parquet(folder / "rows.parquet")
    rows.write_csv(folder / "rows.csv")
    (folder / "many").mkdir()
    rows[:1].write_parquet(folder / "many" / "1.parquet")
    rows[1:].write_parquet(folder / "many" / "2.parquet")
    rows.rename({"event_timestamp": "at", "driver": "d"}).write_parquet(folder / "mapped.parquet")
    return {
        "polars": rows,
        "lazy": rows.lazy(),
        "pandas": rows.to_pandas().set_index(pd.Index([5, 6])),
        "arrow table": rows.to_arrow(),
        "arrow batch": rows.to_arrow().combine_chunks().to_batches()[0],
        "path": folder / "rows.parquet",
        "text": str(folder / "rows.parquet"),
        "uri": f"file://{folder}/rows.parquet",
        "folder": str(folder / "many"),
        "csv": str(folder / "rows.csv"),
        "source": FileSource("event_timestamp", ParquetFormat(), str(folder / "rows.parquet")),
        "mapped": FileSource("at", ParquetFormat(), str(folder / "mapped.parquet"), field_mapping={"driver": "d"}),
    }


KINDS = ("polars", "lazy", "pandas", "arrow table", "arrow batch", "path", "text", "uri", "folder", "csv", "source")


@pytest.mark.parametrize("kind", [*KINDS, "mapped"])
def test_every_kind_of_source_is_read_alike(tmp_path: Path, kind: str) -> None:
    source = kinds(tmp_path)[kind]
    answer = open_entities(source, DRIVER).collect()
    instant = timestamp_column(source)
    assert answer.columns == ["label", "driver", instant]
    assert answer.schema["driver"] == pl.Int64
    assert answer.schema[instant] == pl.Datetime("us", "UTC")
    assert answer.rows() == frame().rows()


def test_the_callers_frame_is_left_as_it_was() -> None:
    rows = pd.DataFrame({"driver": [1.0, np.nan], "event_timestamp": pd.to_datetime(["2026-09-01", "2026-09-02"])})
    before = rows.copy(deep=True)
    open_entities(rows, DRIVER).collect()
    pd.testing.assert_frame_equal(rows, before)


def test_nan_means_null_in_pandas_and_is_a_value_elsewhere() -> None:
    columns = {"driver": [1.0, float("nan")], "x": [float("nan"), 1.0], "event_timestamp": [MOMENT, MOMENT]}
    answer = open_entities(pd.DataFrame(columns), DRIVER).collect()
    assert answer["driver"].to_list() == [1, None]
    assert answer["x"].to_list() == [None, 1.0]
    arrow = pa.table(columns | {"driver": [1, 2]})
    assert str(open_entities(arrow, DRIVER).collect()["x"].to_list()) == "[nan, 1.0]"
    with pytest.raises(InvalidData, match="nan"):
        open_entities(pl.DataFrame(columns), DRIVER)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (pl.Series([1_999]).cast(pl.Datetime("ns")), 1),
        (pl.Series([-1]).cast(pl.Datetime("ns", "Asia/Kathmandu")), -1),
        (pl.Series([5]).cast(pl.Datetime("ms", "UTC")), 5_000),
        (pl.Series([1]).cast(pl.Date), 86_400_000_000),
        (pl.Series([None]), None),
    ],
)
def test_instants_finer_than_a_microsecond_round_down(stored: pl.Series, expected: int | None) -> None:
    rows = pl.DataFrame({"driver": [1], "event_timestamp": stored})
    answer = open_entities(rows, DRIVER).collect()["event_timestamp"]
    assert answer.dtype == pl.Datetime("us", "UTC")
    assert answer.to_physical().to_list() == [expected]


@pytest.mark.parametrize(
    ("keys", "dtype", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.Int64), ValueType.INT32, [1, 2]),
        (pl.Series([1.0, None]), ValueType.INT64, [1, None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ValueType.STRING, ["a", "b"]),
        (pl.Series([None, None]), ValueType.STRING, [None, None]),
    ],
)
def test_keys_are_coerced_without_loss(keys: pl.Series, dtype: ValueType, expected: list[Any]) -> None:
    rows = pl.DataFrame({"driver": keys, "event_timestamp": [MOMENT, MOMENT]})
    assert open_entities(rows, {"driver": dtype}).collect()["driver"].to_list() == expected


@pytest.mark.parametrize(
    ("keys", "dtype", "message"),
    [
        (["1001"], ValueType.INT64, "String"),
        ([1001], ValueType.STRING, "Int64"),
        ([[1]], ValueType.INT64, "List"),
        ([2**31], ValueType.INT32, "2147483648"),
        ([1.5], ValueType.INT64, r"1\.5 in row 0"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: list[Any], dtype: ValueType, message: str) -> None:
    rows = pl.DataFrame({"driver": keys, "event_timestamp": [MOMENT]})
    with pytest.raises(InvalidData, match=message) as caught:
        open_entities(rows, {"driver": dtype})
    assert caught.value.field == "driver"


def test_a_missing_column_is_named_with_its_closest_match() -> None:
    with pytest.raises(InvalidData, match=r"'driver'.*Did you mean 'drivers'"):
        open_entities(frame().rename({"driver": "drivers"}), DRIVER)
    with pytest.raises(InvalidData, match="'event_timestamp'"):
        open_entities(frame().rename({"event_timestamp": "when"}), DRIVER)


@pytest.mark.parametrize("instants", [["2026-09-01"], [1_700_000_000]])
def test_numbers_and_texts_are_no_instants(instants: list[Any]) -> None:
    with pytest.raises(InvalidData, match="not instants"):
        open_entities(pl.DataFrame({"driver": [1], "event_timestamp": instants}), DRIVER)


def test_csv_keeps_leading_zeros_of_texts_and_reads_zones(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("driver,event_timestamp\n007,2026-09-01T12:00:00+02:00\n008,\n")
    answer = open_entities(path, {"driver": ValueType.STRING}).collect()
    assert answer.rows() == [("007", datetime(2026, 9, 1, 10, tzinfo=UTC)), ("008", None)]
    path.write_text("driver,event_timestamp\n1,yesterday\n")
    with pytest.raises(InvalidData, match="yesterday"):
        open_entities(path, DRIVER)


def test_csv_takes_its_types_from_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"1,2026-09-01T12:00:00Z,{n}" for n in range(10_500)]
    path.write_text("\n".join(["driver,event_timestamp,note", *rows, "1,2026-09-01T12:00:00Z,late"]) + "\n")
    assert open_entities(path, DRIVER).collect()["note"].to_list()[-2:] == ["10499", "late"]


@pytest.mark.parametrize("rows", ["", ",\n,\n"])
def test_csv_without_values_has_the_full_schema(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"driver,event_timestamp\n{rows}")
    answer = open_entities(path, DRIVER).collect()
    assert answer.schema == {"driver": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")}
    assert answer.height == rows.count("\n")


def test_files_that_do_not_exist_are_not_found(tmp_path: Path) -> None:
    for path in ("none.parquet", "none.csv", "none"):
        with pytest.raises(NotFound, match="none"):
            open_entities(tmp_path / path, DRIVER)


@pytest.mark.parametrize("source", [None, 7, {"driver": [1]}, [1, 2]])
def test_what_is_no_table_is_refused(source: Any) -> None:
    with pytest.raises(InvalidArgument, match="entity source cannot be"):
        open_entities(source, DRIVER)


def test_a_pandas_column_of_mixed_values_is_refused() -> None:
    rows = pd.DataFrame({"driver": [1, "x"], "event_timestamp": [MOMENT, MOMENT]})
    with pytest.raises(InvalidArgument, match="one type each"):
        open_entities(rows, DRIVER)
