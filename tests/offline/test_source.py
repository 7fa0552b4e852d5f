"""Reading histories: files of every age and layout become one canonical frame, or are refused before any work."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from tiffin.clock import to_micros
from tiffin.definitions.format import DeltaFormat, ParquetFormat
from tiffin.definitions.schema import CREATED_TS, DELETED, EVENT_TS, INGESTED_AT, ROW, Column, TableSchema
from tiffin.definitions.source import BigQuerySource, FileSource
from tiffin.errors import CorruptData, InvalidData, InvalidDefinition, NotFound, StorageError, TiffinError, Unsupported
from tiffin.offline import lake
from tiffin.offline.source import check_unchanged, open_history, open_source
from tiffin.testing.frames import bits
from tiffin.types import ValueType, polars_type

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC).replace(tzinfo=None)


def table(url: Path | str, *features: Column, key: Column | None = None, **source: Any) -> TableSchema:
    """A table keyed by ``k`` with its times in ``t``."""
    fields = {"event_timestamp_column": "t", "file_format": ParquetFormat(), "file_url": str(url)} | source
    return TableSchema("default", "trips", (key or Column("k", ValueType.INT64, "k"),), features, FileSource(**fields))


def feature(name: str, dtype: ValueType = ValueType.INT64, expression: str = "") -> Column:
    return Column(name, dtype, expression or name)


def write(path: Path, **columns: Any) -> Path:
    """A Parquet file with one row a value; ``k`` and ``t`` are there unless given."""
    height = max((len(values) for values in columns.values()), default=1)
    frame = pl.DataFrame({"k": list(range(height)), "t": [NOON] * height} | columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


def read(schema: TableSchema, **options: Any) -> pl.DataFrame:
    """The history as a query of an engine collects it."""
    history = open_history(schema, schema.features, lake.snapshot(schema.source), **options)
    with history.collecting():
        return history.scan(**options).collect()


# Layouts


@pytest.mark.parametrize("url", ["data/a.parquet", "data", "data/*", "data/*.parquet", "data/"])
def test_a_file_a_folder_and_a_glob_are_read(tmp_path: Path, url: str) -> None:
    write(tmp_path / "data" / "a.parquet", x=[1, 2])
    frame = read(table(f"{tmp_path}/{url}", feature("x")))
    assert frame["x"].to_list() == [1, 2]
    assert frame.columns == ["k", EVENT_TS, CREATED_TS, INGESTED_AT, ROW, DELETED, "x"]
    assert frame[EVENT_TS].to_list() == [NOON.replace(tzinfo=UTC)] * 2
    assert frame[DELETED].to_list() == [False, False]


def test_a_name_with_signs_of_a_pattern_is_taken_literally(tmp_path: Path) -> None:
    write(tmp_path / "a[1]" / "b?.parquet", x=[1])
    write(tmp_path / "a1" / "b.parquet", x=[2])
    assert read(table(tmp_path / "a[1]", feature("x")))["x"].to_list() == [1]


def test_rows_come_in_the_order_of_paths_and_row_numbers(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", x=[3, 4])
    write(tmp_path / "a.parquet", x=[1, 2])
    write(tmp_path / "c" / "a.parquet", x=pl.Series([5], dtype=pl.Int32))
    schema = table(tmp_path, feature("x"))
    history = open_history(schema, schema.features, lake.snapshot(schema.source))
    frame = history.scan(positions=True).collect()
    assert frame["x"].to_list() == [1, 2, 3, 4, 5]
    assert frame["$at"].to_list() == [0, 1, 2, 3, 4]
    assert history.rows == 5
    fetched = history.fetch(pl.Series([1, 4], dtype=pl.UInt32), ["x"]).collect()
    assert fetched["x"].to_list() == [2, 5]
    pieces = [piece.collect()["x"].to_list() for piece in history.pieces(3)]
    assert pieces == [[1, 2], [3, 4], [5]]


def test_folders_give_columns_that_files_lack(tmp_path: Path) -> None:
    write(tmp_path / "city=1" / "day=2026-09-01" / "a.parquet", x=[1])
    write(tmp_path / "city=2" / "day=2026-09-02" / "a.parquet", x=[2])
    write(tmp_path / "city=__HIVE_DEFAULT_PARTITION__" / "day=x" / "a.parquet", x=[3])
    cities = read(table(tmp_path, feature("city")))["city"].to_list()
    assert cities == [1, 2, None]
    assert read(table(tmp_path, feature("city", ValueType.STRING)))["city"].to_list() == ["1", "2", None]
    write(tmp_path / "city=2" / "day=2026-09-02" / "b.parquet", x=[2])
    days = read(table(tmp_path / "city=2", key=feature("x"), event_timestamp_column="day"))
    assert days[EVENT_TS].to_list() == [datetime(2026, 9, 2, tzinfo=UTC)] * 2


def test_a_folder_with_a_log_is_read_through_it(tmp_path: Path) -> None:
    for number in range(2):
        write_deltalake(str(tmp_path), pl.DataFrame({"k": [number], "t": [NOON], "x": [number]}), mode="append")
    write(tmp_path / "stray.parquet", x=[9])
    assert sorted(read(table(tmp_path, feature("x")))["x"]) == [0, 1]
    pinned = table(tmp_path, feature("x"), file_format=DeltaFormat(version=0))
    assert read(pinned)["x"].to_list() == [0]
    assert open_source(table(tmp_path, feature("x")), version=0).collect()["x"].to_list() == [0]
    with pytest.raises(NotFound, match="version 7"):
        open_source(table(tmp_path, feature("x")), version=7)


def test_a_location_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    frame = read(table(tmp_path / "none", feature("x", ValueType.FLOAT_LIST)))
    assert frame.height == 0
    assert frame.schema["x"] == pl.List(pl.Float32)


def test_rows_without_keys_or_times_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", k=[None, 1, 2], t=[NOON, None, NOON], x=[1, 2, 3])
    assert read(table(tmp_path, feature("x")))["x"].to_list() == [3]


# Columns


def test_a_feature_that_older_files_lack_is_null_there(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", x=[1], other=["a"])
    write(tmp_path / "2.parquet", x=[2], y=[[5]], other=[1.5])
    frame = read(table(tmp_path, feature("x"), feature("y", ValueType.INT64_LIST)))
    assert frame["y"].to_list() == [None, [5]]


def test_a_column_that_no_file_has_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", amount=[1])
    with pytest.raises(InvalidData, match=r"'amounts'.*Did you mean 'amount'"):
        read(table(tmp_path, feature("amounts")))
    with pytest.raises(InvalidData, match="created"):
        read(table(tmp_path, feature("amount"), created_timestamp_column="created"))
    with pytest.raises(InvalidData, match="'time'"):
        read(table(tmp_path, feature("amount"), event_timestamp_column="time"))


def test_a_pruned_file_still_tells_which_columns_there_are(tmp_path: Path) -> None:
    write(tmp_path / "day=2026-09-01" / "a.parquet", x=[1], y=[2])
    write(tmp_path / "day=2026-09-05" / "a.parquet", x=[1])
    schema = table(tmp_path, feature("y"), date_partition_column="day")
    assert read(schema, low=to_micros("2026-09-03")).height == 0


def test_mapped_columns_and_expressions(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", **{"fare": [1.5], "fare amount": [2], "m": [{"inner": 7}], "text": ["a"]})
    schema = table(
        tmp_path,
        feature("plain", ValueType.DOUBLE, "fare"),
        feature("spaced", ValueType.INT64, "fare amount"),
        feature("sum", ValueType.DOUBLE, 'fare * 2 + "fare amount"'),
        feature("inner", ValueType.INT64, "m.inner"),
        feature("upper", ValueType.STRING, "upper(text)"),
    )
    assert read(schema).row(0)[-5:] == (1.5, 2, 5.0, 7, "A")


@pytest.mark.parametrize(
    "expression",
    [
        "fare +",
        "sum(fare)",
        "fare - avg(fare)",
        "count(*)",
        "sum(fare) over (partition by k)",
        "fare - lag(fare) over (order by t)",
        "coalesce(fare, max(fare))",
        "columns('fare')",
        "nofunction(fare)",
        "fare.inner",
        "select 1",
        "(select 1)",
    ],
)
def test_what_is_no_scalar_expression_is_refused(tmp_path: Path, expression: str) -> None:
    write(tmp_path / "1.parquet", fare=[1.5])
    with pytest.raises(InvalidDefinition, match="field_mapping"):
        read(table(tmp_path, feature("x", ValueType.DOUBLE, expression)))


def test_a_column_with_spaces_may_be_in_no_file_that_is_read(tmp_path: Path) -> None:
    spaced = table(tmp_path, feature("x", expression="my odd column"), date_partition_column="day")
    assert read(spaced).is_empty()
    write(tmp_path / "day=2026-09-01" / "1.parquet", **{"my odd column": [1]})
    assert read(spaced, high=to_micros("2026-08-01")).is_empty()
    assert read(spaced)["x"].to_list() == [1]


def test_a_created_time_that_the_folder_tells_takes_part_in_the_rank(tmp_path: Path) -> None:
    write(tmp_path / "made=2026-09-02" / "a.parquet", x=[1])
    schema = table(tmp_path, feature("x"), created_timestamp_column="made")
    assert CREATED_TS in open_history(schema, schema.features, lake.snapshot(schema.source)).rank


def test_an_expression_over_a_column_that_older_files_lack_is_null_there(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", x=[1])
    write(tmp_path / "2.parquet", x=[1], y=["b"])
    assert read(table(tmp_path, feature("u", ValueType.STRING, "upper(y)")))["u"].to_list() == [None, "B"]


# Types


@pytest.mark.parametrize(
    ("stored", "dtype", "expected"),
    [
        (pl.Series([1, None], dtype=pl.Int64), ValueType.INT32, [1, None]),
        (pl.Series([2.0, None], dtype=pl.Float64), ValueType.INT64, [2, None]),
        (pl.Series([0.1, float("nan")], dtype=pl.Float64), ValueType.FLOAT, None),
        (pl.Series([1, 2], dtype=pl.Int16), ValueType.FLOAT, [1.0, 2.0]),
        (pl.Series([None, None], dtype=pl.Null), ValueType.STRING_LIST, [None, None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ValueType.STRING, ["a", "b"]),
        (pl.Series([[1], [None]], dtype=pl.List(pl.Int64)), ValueType.INT32_LIST, [[1], [None]]),
        (pl.Series([date(2026, 9, 1), None]), ValueType.UNIX_TIMESTAMP, [datetime(2026, 9, 1, tzinfo=UTC), None]),
    ],
)
def test_types_that_hold_every_value_are_taken(
    tmp_path: Path, stored: pl.Series, dtype: ValueType, expected: list[Any] | None
) -> None:
    write(tmp_path / "1.parquet", x=stored)
    answer = read(table(tmp_path, feature("x", dtype)))["x"]
    assert answer.dtype == polars_type(dtype)
    wanted = stored.cast(pl.Float32).to_list() if expected is None else expected
    assert [bits(value) for value in answer.to_list()] == [bits(value) for value in wanted]


@pytest.mark.parametrize(
    ("stored", "dtype", "found"),
    [
        (pl.Series([1, 2**31]), ValueType.INT32, str(2**31)),
        (pl.Series([1.0, 1.5]), ValueType.INT64, "1.5"),
        (pl.Series([1.0, float("nan")]), ValueType.INT64, "nan"),
        (pl.Series([1, 2**53 + 1]), ValueType.DOUBLE, str(2**53 + 1)),
        (pl.Series([1.0, 1e300]), ValueType.FLOAT, "1e+300"),
        (pl.Series([[1], [2**31]]), ValueType.INT32_LIST, str([2**31])),
    ],
)
def test_a_value_that_would_be_lost_is_refused_by_name(
    tmp_path: Path, stored: pl.Series, dtype: ValueType, found: str
) -> None:
    write(tmp_path / "1.parquet", x=stored)
    with pytest.raises(InvalidData) as caught:
        read(table(tmp_path, feature("x", dtype)))
    assert found in str(caught.value)
    assert caught.value.field == "x"


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (pl.Series(["1"]), ValueType.INT64),
        (pl.Series([1]), ValueType.STRING),
        (pl.Series([1]), ValueType.BOOL),
        (pl.Series([["1"]]), ValueType.INT64_LIST),
        (pl.Series([[1]]), ValueType.INT64),
    ],
)
def test_a_type_that_is_refused_is_refused_before_reading(tmp_path: Path, stored: pl.Series, dtype: ValueType) -> None:
    write(tmp_path / "1.parquet", x=stored)
    schema = table(tmp_path, feature("x", dtype))
    with pytest.raises(InvalidData, match="declared"):
        open_history(schema, schema.features, lake.snapshot(schema.source))


# Times


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (pl.Series([NOON]), NOON.replace(tzinfo=UTC)),
        (pl.Series([NOON]).cast(pl.Datetime("ms")), NOON.replace(tzinfo=UTC)),
        (pl.Series([NOON]).cast(pl.Datetime("ns")), NOON.replace(tzinfo=UTC)),
        (pl.Series([NOON]).dt.replace_time_zone("Europe/Berlin"), datetime(2026, 9, 1, 10, tzinfo=UTC)),
        (pl.Series([date(2026, 9, 1)]), datetime(2026, 9, 1, tzinfo=UTC)),
        (pl.Series([1]).cast(pl.Datetime("ns")), datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)),
        (pl.Series([-1]).cast(pl.Datetime("ns")), datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_of_every_unit_and_zone_become_microseconds_and_round_up(
    tmp_path: Path, stored: pl.Series, expected: datetime
) -> None:
    write(tmp_path / "1.parquet", t=stored, c=stored)
    frame = read(table(tmp_path, created_timestamp_column="c"))
    assert frame.select(EVENT_TS, CREATED_TS).row(0) == (expected, expected)
    instant = to_micros(expected)
    schema = table(tmp_path, created_timestamp_column="c")
    assert read(schema, low=instant, high=instant).height == 1
    assert read(schema, low=instant + 1).height == 0
    assert read(schema, high=instant - 1).height == 0


@pytest.mark.parametrize("stored", [pl.Series([1_700_000_000]), pl.Series(["2026-09-01"])])
def test_numbers_and_texts_are_no_times(tmp_path: Path, stored: pl.Series) -> None:
    write(tmp_path / "1.parquet", t=stored)
    with pytest.raises(InvalidData, match="declared as a time"):
        read(table(tmp_path))


def test_only_a_declared_date_partition_prunes(tmp_path: Path) -> None:
    late = datetime(2026, 9, 1, 23, 59, 59, 999_999, UTC)
    write(tmp_path / "day=2026-09-01" / "a.parquet", t=[late], x=[1])
    write(tmp_path / "day=2026-09-02" / "a.parquet", t=[late], x=[2])
    moment = to_micros(late)
    assert read(table(tmp_path, feature("x")), low=moment, high=moment)["x"].to_list() == [1, 2]
    declared = table(tmp_path, feature("x"), date_partition_column="day")
    assert read(declared, low=moment, high=moment)["x"].to_list() == [1]
    assert read(declared, low=moment + 1, high=moment + 1).height == 0


# Trouble


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(CorruptData, match=r"a\.parquet"):
        read(table(tmp_path, feature("x")))


def test_a_file_that_vanishes_is_a_storage_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=[1])
    schema = table(tmp_path, feature("x"))
    snapshot = lake.snapshot(schema.source)
    history = open_history(schema, schema.features, snapshot)
    path.unlink()
    with pytest.raises(StorageError), history.collecting():
        history.scan().collect()
    with pytest.raises(StorageError, match="replaced"):
        check_unchanged(schema, snapshot)


def test_a_source_of_another_system_is_unsupported() -> None:
    source = BigQuerySource(event_timestamp_column="t", table_ref="p:d.t")
    schema = TableSchema("default", "trips", (feature("k"),), (feature("x"),), source)
    with pytest.raises(Unsupported, match="BigQuerySource"):
        open_source(schema)


def test_every_error_is_one_of_tiffin(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[[1.5]])
    with pytest.raises(TiffinError):
        read(table(tmp_path, feature("x", ValueType.INT64_LIST)))
