"""Whatever a caller hands over: every form of the same rows is stored alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.ingest.lakes import DAY, drivers, put, rows, stored
from tiffin.definitions.schema import Column, TableSchema
from tiffin.errors import InvalidArgument, InvalidData, NotFound
from tiffin.ingest.input import frames_of
from tiffin.ingest.text import parsing
from tiffin.types import ValueType, polars_type

ROWS = rows(5, trips=[1, None, 3, 4, 5], created=[DAY, None, DAY, DAY, DAY])


class OnlyStream:
    """An object that speaks Arrow's C interface and nothing else."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)


def arrow_batches(frame: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    yield from frame.to_arrow().to_batches(max_chunksize=2)


FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "polars": lambda frame, _: frame,
    "lazy": lambda frame, _: frame.lazy(),
    "pandas": lambda frame, _: frame.to_pandas(),
    "pandas, arrow-backed": lambda frame, _: frame.to_pandas(use_pyarrow_extension_array=True),
    "arrow table": lambda frame, _: frame.to_arrow(),
    "arrow reader": lambda frame, _: frame.to_arrow().to_reader(),
    "arrow batches": lambda frame, _: arrow_batches(frame),
    "list of batches": lambda frame, _: list(arrow_batches(frame)),
    "one batch": lambda frame, _: frame.to_arrow().combine_chunks().to_batches()[0],
    "a stream of nobody": lambda frame, _: OnlyStream(frame),
    "parquet": lambda frame, home: saved(frame.write_parquet, home / "in.parquet"),
    "parquet without an ending": lambda frame, home: saved(frame.write_parquet, home / "staged"),
    "csv": lambda frame, home: saved(frame.write_csv, home / "in.csv"),
    "csv.gz": lambda frame, home: zipped(saved(frame.write_csv, home / "in.csv")),
    "jsonl": lambda frame, home: saved(frame.write_ndjson, home / "in.jsonl"),
    "jsonl.gz": lambda frame, home: zipped(saved(frame.write_ndjson, home / "in.jsonl")),
    "folder": lambda frame, home: split(frame, home / "in"),
    "glob": lambda frame, home: f"{split(frame, home / 'in')}/*.parquet",
    "uri": lambda frame, home: f"file://{saved(frame.write_parquet, home / 'in.parquet')}",
}


def saved(write: Callable[[Path], object], path: Path) -> Path:
    write(path)
    return path


def zipped(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def split(frame: pl.DataFrame, folder: Path) -> Path:
    folder.mkdir()
    for n, part in enumerate(frame.iter_slices(2)):
        part.write_parquet(folder / f"{n}.parquet")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_stored_alike(tmp_path: Path, form: str) -> None:
    put(drivers(tmp_path / "expected"), ROWS, tmp_path)
    put(drivers(tmp_path / "lake"), FORMS[form](ROWS, tmp_path), tmp_path)
    expected = stored(tmp_path / "expected").drop("_ingested_at")
    assert_frame_equal(stored(tmp_path / "lake").drop("_ingested_at"), expected)


def test_pandas_nan_is_null_in_numpy_columns_only(tmp_path: Path) -> None:
    features = (Column("numpy", ValueType.DOUBLE, "numpy"), Column("arrow", ValueType.DOUBLE, "arrow"))
    frame = rows(2, numpy=[1.0, float("nan")]).drop("acc_rate", "trips").to_pandas()
    frame["arrow"] = pd.array([1.0, float("nan")], dtype=pd.ArrowDtype(pa.float64()))
    frame.index = pd.Index([7, 7], name="ignored")
    put(drivers(tmp_path / "lake", features=features), frame, tmp_path)
    assert stored(tmp_path / "lake")["numpy"].to_list() == [1.0, None]
    assert pd.isna(frame["arrow"].iloc[1]) or stored(tmp_path / "lake")["arrow"].is_nan().to_list() == [False, True]


def test_pandas_nullable_integers_come_back_exactly(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "driver_id": [1, 2, 3],
            "datetime": pd.to_datetime(["2026-09-01"] * 3),
            "created": pd.to_datetime(["2026-09-01"] * 3).tz_localize("Asia/Tokyo"),
            "acc_rate": [0.5, None, 0.25],
            "trips": [7, None, 2**31 - 1],
        }
    )
    put(drivers(tmp_path / "lake"), frame, tmp_path)
    whole = stored(tmp_path / "lake")
    assert whole["trips"].to_list() == [7, None, 2**31 - 1]
    assert whole["created"][0] == datetime(2026, 8, 31, 15, tzinfo=UTC)


def test_pandas_lists_texts_and_categories(tmp_path: Path) -> None:
    features = (
        Column("tags", ValueType.STRING_LIST, "tags"),
        Column("kind", ValueType.STRING, "kind"),
        Column("raw", ValueType.BYTES, "raw"),
    )
    frame = rows(2).drop("acc_rate", "trips").to_pandas()
    frame["tags"] = [["a", None], None]
    frame["kind"] = pd.Categorical(["x", "y"])
    frame["raw"] = [b"\x00", None]
    put(drivers(tmp_path / "lake", features=features), frame, tmp_path)
    whole = stored(tmp_path / "lake")
    assert whole["tags"].to_list() == [["a", None], None]
    assert whole["kind"].to_list() == ["x", "y"]
    assert whole["raw"].to_list() == [b"\x00", None]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=["a", 3]),
        pd.DataFrame({"a": ["x", 1]}),
    ],
)
def test_pandas_frames_that_no_table_can_hold(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(InvalidData):
        put(drivers(tmp_path / "lake"), frame, tmp_path)


@pytest.mark.parametrize(
    "source", [7, None, {"a": [1]}, b"x", [1], ["a.csv"], [{"a": 1}], pl.Series([1]), pa.chunked_array([[1]])]
)
def test_what_holds_no_rows(tmp_path: Path, source: Any) -> None:
    with pytest.raises(InvalidArgument, match="holds no rows") as caught:
        put(drivers(tmp_path / "lake"), source, tmp_path)
    assert "pandas" in str(caught.value.hint)


@pytest.mark.parametrize("column", [pd.Series([1, 2**70], dtype=object), pd.Series([1j, 2j])])
def test_pandas_columns_that_no_type_holds(tmp_path: Path, column: pd.Series) -> None:
    frame = rows(2).to_pandas().assign(trips=column)
    with pytest.raises(InvalidData, match="Column 'trips' of the pandas frame") as caught:
        put(drivers(tmp_path / "lake"), frame, tmp_path)
    assert caught.value.hint


def test_arrow_columns_that_polars_panics_at(tmp_path: Path) -> None:
    table = rows(2).to_arrow()
    wide = pa.array([1, 2], pa.decimal256(60, 2))
    with pytest.raises(InvalidData, match="The Arrow stream cannot be read") as caught:
        put(drivers(tmp_path / "lake"), table.append_column("wide", wide), tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("key", ["", "\ud800"])
def test_idempotency_keys_are_unicode_texts(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidArgument, match="An idempotency_key must be") as caught:
        put(drivers(tmp_path / "lake"), rows(2), tmp_path, idempotency_key=key)
    assert caught.value.hint


def test_a_path_that_no_system_takes(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a path"):
        put(drivers(tmp_path / "lake"), "a\0b", tmp_path)


def test_files_that_are_missing_mixed_or_broken(tmp_path: Path) -> None:
    table = drivers(tmp_path / "lake")
    for missing in ("none.csv", "none/*.parquet", "none"):
        with pytest.raises(NotFound):
            put(table, tmp_path / missing, tmp_path)
    folder = split(ROWS, tmp_path / "in")
    ROWS.write_csv(folder / "x.csv")
    with pytest.raises(InvalidArgument, match="different kinds: CSV, Parquet"):
        put(table, folder, tmp_path)
    (folder / "x.csv").rename(folder / "x.txt")
    with pytest.raises(InvalidArgument, match=r"x\.txt"):
        put(table, folder, tmp_path)
    broken = saved(lambda path: path.write_bytes(b"PAR1"), tmp_path / "broken.parquet")
    with pytest.raises(InvalidData, match="cannot be read as Parquet"):
        put(table, broken, tmp_path)
    for text, said in (("{", "Line 1"), ('{"a": 1}\n[1]', "Line 2")):
        path = saved(lambda path, text=text: path.write_text(text), tmp_path / "broken.jsonl")
        with pytest.raises(InvalidData, match=said):
            put(table, path, tmp_path)


def test_a_delta_table_as_a_batch_is_read_through_its_log(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "in", rows(4))
    write_deltalake(tmp_path / "in", rows(2), mode="overwrite")
    put(drivers(tmp_path / "lake"), tmp_path / "in", tmp_path)
    assert stored(tmp_path / "lake").height == 2


def test_hive_folders_of_a_batch_are_columns(tmp_path: Path) -> None:
    for key in (7, 8):
        (tmp_path / f"in/driver_id={key}").mkdir(parents=True)
        rows(1).drop("driver_id").write_parquet(tmp_path / f"in/driver_id={key}/a.parquet")
    put(drivers(tmp_path / "lake"), tmp_path / "in", tmp_path)
    assert sorted(stored(tmp_path / "lake")["driver_id"].to_list()) == [7, 8]


def test_bad_rows_of_a_csv_are_told_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        "driver_id,datetime,created,acc_rate,trips,note\n"
        "1,2026-09-01,2026-09-01T00:00:00Z,0.5,1,ok\n"
        "x,2026-09-01 10:00,,0.5,1,bad key\n"
        "3,yesterday,,0.5,1,bad time\n"
        "4,2026-09-01T10:00:00+02:00,,,2.0,ok\n"
        "5,1788220800,,nan,2.5,bad trips\n"
    )
    commit = put(drivers(tmp_path / "lake"), tmp_path / "in.csv", tmp_path, on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (2, 3)
    dead = pl.read_parquet(Path(commit.dead_letters) / "*.parquet")
    assert dead["note"].to_list() == ["bad key", "bad time", "bad trips"]
    assert dead["driver_id"].to_list() == ["x", "3", "5"]
    good = stored(tmp_path / "lake")
    assert good["datetime"].to_list() == [DAY, datetime(2026, 9, 1, 8, tzinfo=UTC)]
    assert good["trips"].to_list() == [1, 2]


def test_json_lines_keep_their_types_and_mixed_ones_are_told(tmp_path: Path) -> None:
    features = (
        Column("name", ValueType.STRING, "name"),
        Column("scores", ValueType.DOUBLE_LIST, "scores"),
        Column("blob", ValueType.BYTES, "blob"),
        Column("count", ValueType.INT64, "count"),
    )
    lines = [
        {"driver_id": 1, "datetime": "2026-09-01", "name": "1", "scores": [1, 2.5, None], "blob": "AAE=", "count": 2},
        {"driver_id": 2, "datetime": "2026-09-01", "name": None, "scores": [], "blob": None, "count": 3.0},
        {"driver_id": 3, "datetime": "2026-09-01", "name": 5, "scores": None, "blob": None, "count": 1},
        {"driver_id": 4, "datetime": "2026-09-01", "name": "x", "scores": None, "blob": None, "count": "7"},
        {"driver_id": "5", "datetime": "2026-09-01"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    table = drivers(tmp_path / "lake", features=features, created="")
    commit = put(table, tmp_path / "in.jsonl", tmp_path, on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (2, 3)
    good = stored(tmp_path / "lake")
    assert good["name"].to_list() == ["1", None]
    assert good["scores"].to_list() == [[1.0, 2.5, None], []]
    assert good["blob"].to_list() == [b"\x00\x01", None]
    assert good["count"].to_list() == [2, 3]


@settings(max_examples=60)
@given(
    moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001  # hypothesis wants naive bounds
    zone=st.sampled_from(["", "Z", "+00:00", "+05:30", "-08:00", "+0200"]),
    gap=st.sampled_from(["T", " "]),
)
def test_instants_of_iso_8601(moment: datetime, zone: str, gap: str) -> None:
    text = moment.isoformat(sep=gap) + zone
    expected = datetime.fromisoformat(text)
    expected = expected if expected.tzinfo else expected.replace(tzinfo=UTC)
    assert read(text, ValueType.UNIX_TIMESTAMP) == [expected.astimezone(UTC)]


def read(text: str | None, to: ValueType, writing: Any = "plain") -> list[Any]:
    """The value of a text, or the word refused."""
    how = parsing(pl.col("t"), writing, to)
    assert how.failed is not None
    frame = pl.DataFrame({"t": [text]}, {"t": pl.String}).select(value=how.value, failed=how.failed)
    assert frame.schema["value"] == polars_type(to)
    return ["refused"] if frame["failed"][0] else frame["value"].to_list()


TEXTS: list[tuple[str, ValueType, Any]] = [
    ("7", ValueType.INT32, 7),
    (" -7 ", ValueType.INT64, -7),
    ("7.0", ValueType.INT64, 7),
    ("1e3", ValueType.INT64, 1000),
    ("9007199254740993", ValueType.INT64, 9007199254740993),
    ("9007199254740993.0", ValueType.INT64, "refused"),
    ("2147483648", ValueType.INT32, "refused"),
    ("99999999999999999999", ValueType.INT64, "refused"),
    ("7.5", ValueType.INT32, "refused"),
    ("seven", ValueType.INT32, "refused"),
    ("0x7", ValueType.INT32, "refused"),
    ("1.5", ValueType.DOUBLE, 1.5),
    ("inf", ValueType.DOUBLE, float("inf")),
    ("1e300", ValueType.FLOAT, "refused"),
    ("1,5", ValueType.DOUBLE, "refused"),
    ("TRUE", ValueType.BOOL, True),
    ("0", ValueType.BOOL, False),
    ("2", ValueType.BOOL, "refused"),
    ("AAE=", ValueType.BYTES, b"\x00\x01"),
    ("*", ValueType.BYTES, "refused"),
    ("2026-09-01", ValueType.UNIX_TIMESTAMP, DAY),
    ("2026-09-01T00:00:00.0000001Z", ValueType.UNIX_TIMESTAMP, DAY.replace(microsecond=1)),
    ("1788220800", ValueType.UNIX_TIMESTAMP, DAY),
    ("2026-13-01", ValueType.UNIX_TIMESTAMP, "refused"),
    ("01/09/2026", ValueType.UNIX_TIMESTAMP, "refused"),
    ("2026-09-01T", ValueType.UNIX_TIMESTAMP, "refused"),
    ("[1]", ValueType.INT64_LIST, "refused"),
    ("", ValueType.STRING, ""),
]


@pytest.mark.parametrize(("text", "to", "expected"), TEXTS)
def test_texts_are_read_by_the_declared_type(text: str, to: ValueType, expected: Any) -> None:
    assert read(text, to) == [expected]


@pytest.mark.parametrize(
    ("text", "to", "expected"),
    [
        ('"7"', ValueType.INT64, "refused"),
        ("7", ValueType.INT64, 7),
        ("7", ValueType.STRING, "refused"),
        ('"seven"', ValueType.STRING, "seven"),
        ('"q\\"\\u00e9"', ValueType.STRING, 'q"é'),
        ("true", ValueType.BOOL, True),
        ("1", ValueType.BOOL, "refused"),
        ('"2026-09-01"', ValueType.UNIX_TIMESTAMP, DAY),
        ("true", ValueType.INT64, "refused"),
        ("[1]", ValueType.STRING, "refused"),
    ],
)
def test_mixed_json_is_read_as_json(text: str, to: ValueType, expected: Any) -> None:
    assert read(text, to, "json") == [expected]


def test_null_is_null_in_text() -> None:
    for to in ValueType:
        if to is not ValueType.UNKNOWN:
            assert read(None, to) == [None]


def test_frames_are_cut_and_nothing_is_read_ahead(tmp_path: Path) -> None:
    taken = []

    def batches() -> Iterator[pl.DataFrame]:
        for n in range(3):
            taken.append(n)
            yield pl.DataFrame({"a": range(200_000)})

    table: TableSchema = drivers(tmp_path / "lake")
    frames = frames_of(batches(), table)
    assert next(frames).frame.height == 131_072
    assert taken == [0]
    assert sum(given.frame.height for given in frames) == 600_000 - 131_072
    assert date(2026, 9, 1) == DAY.date()
