"""Entity rows staged as files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from tiffin.config import Config
from tiffin.data_format import ParquetFormat
from tiffin.errors import InvalidArgument, InvalidData, StorageError, Unsupported
from tiffin.staging.entities import stage_entities_to_bq, stage_entities_to_fs

INSTANT = datetime(2026, 9, 1, 12, 0, 0, 123_457, tzinfo=UTC)
FRAME = pl.DataFrame({"driver_id": [1001, None], "event_timestamp": [INSTANT, None]})


def side_door(url: str) -> pa.Table:
    return pq.read_table(url)


def test_pandas_is_staged_as_it_is_and_not_changed(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"driver_id": [1001, 1002], "event_timestamp": pd.to_datetime([INSTANT, INSTANT])}, index=[7, 3]
    )
    before = frame.copy(deep=True)
    # The class Config, as programs written for Feast hand it over.
    source = stage_entities_to_fs(entity_source=frame, staging_location=f"{tmp_path}/stage/", config=Config)
    assert source.event_timestamp_column == "event_timestamp"
    assert isinstance(source.file_format, ParquetFormat)
    assert Path(source.file_url).parent == tmp_path / "stage"
    pd.testing.assert_frame_equal(frame, before)
    found = side_door(source.file_url)
    assert found.column_names == ["driver_id", "event_timestamp"]
    assert found["event_timestamp"].to_pylist() == [INSTANT, INSTANT]


@pytest.mark.parametrize("source", [FRAME, FRAME.lazy(), FRAME.to_arrow()], ids=["polars", "lazy", "arrow"])
def test_any_frame_keeps_microseconds_and_nulls(tmp_path: Path, source: object) -> None:
    staged = stage_entities_to_fs(source, str(tmp_path), Config())
    assert_frame_equal(pl.DataFrame(side_door(staged.file_url)), FRAME)


def test_a_relative_place_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    staged = stage_entities_to_fs(FRAME, "stage")
    assert Path(staged.file_url).is_absolute()
    assert stage_entities_to_fs(FRAME, "stage").file_url != staged.file_url


def test_what_cannot_be_staged_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"no column 'event_timestamp'.*Did you mean 'event_timestamps'"):
        stage_entities_to_fs(FRAME.rename({"event_timestamp": "event_timestamps"}), str(tmp_path))
    with pytest.raises(InvalidData, match="holds String, not instants"):
        stage_entities_to_fs(pl.DataFrame({"event_timestamp": ["2026-09-01"]}), str(tmp_path))
    with pytest.raises(InvalidArgument, match=r"builtins.int cannot be read as a table"):
        stage_entities_to_fs(5, str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        stage_entities_to_fs(FRAME, str(tmp_path / "file"))
    with pytest.raises(Unsupported, match="BigQuery"):
        stage_entities_to_bq(FRAME, "project", "dataset")
