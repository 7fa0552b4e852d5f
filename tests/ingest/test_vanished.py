"""Files of a plain folder vanish or are replaced: what is online follows what is left."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat

DAY = [datetime(2026, 9, day, tzinfo=UTC) for day in range(1, 8)]


def file(folder: Path, name: str, rows: dict[int, int], day: int) -> Path:
    """A file with a value a key, all of one day."""
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame(
        {"k": list(rows), "f": list(rows.values()), "at": [DAY[day]] * len(rows)},
        schema={"k": pl.Int64, "f": pl.Int64, "at": pl.Datetime("us", "UTC")},
    )
    frame.write_parquet(folder / name)
    return folder / name


@pytest.fixture(params=["lmdb", "memory", "redis"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    options: dict[str, str] = {"home": str(tmp_path / "home")}
    if request.param == "memory":
        options["online_store"] = f"memory://{tmp_path.name}"
    elif request.param == "redis":
        options["online_store"] = request.getfixturevalue("redis_uri")
    with Client(options) as client:
        source = FileSource("at", ParquetFormat(), f"file://{tmp_path / 'rows'}")
        client.apply(
            [
                Entity("k", value_type=ValueType.INT64),
                FeatureTable("t", ["k"], [Feature("f", ValueType.INT64)], batch_source=source),
            ]
        )
        yield client


def online(client: Client, *keys: int) -> list[Any]:
    answer = client.get_online_features(["t:f"], [{"k": key} for key in keys]).to_dict()
    found: list[Any] = answer["t:f"]
    return found


def test_rows_of_a_file_that_vanished_leave_and_those_that_lost_to_them_come_back(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    file(folder, "a.parquet", {1: 10, 2: 20}, 1)
    late = file(folder, "b.parquet", {2: 21, 3: 31}, 2)
    client.materialize_incremental()
    assert online(client, 1, 2, 3) == [10, 21, 31]
    late.unlink()
    file(folder, "c.parquet", {4: 44}, 3)
    client.materialize_incremental()
    assert online(client, 1, 2, 3, 4) == [10, 20, None, 44]
    client.materialize_incremental()
    assert online(client, 1, 2, 3, 4) == [10, 20, None, 44]


def test_a_file_that_is_written_anew_counts_as_another(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    file(folder, "a.parquet", {1: 10, 2: 20}, 4)
    client.materialize_incremental()
    file(folder, "a.parquet", {1: 11, 3: 33, 5: 55}, 2)
    client.materialize_incremental()
    assert online(client, 1, 2, 3, 5) == [11, None, 33, 55]


def test_a_folder_that_only_grows_is_not_compared(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("nothing vanished")

    folder = tmp_path / "rows"
    file(folder, "a.parquet", {1: 10}, 1)
    client.materialize_incremental()
    monkeypatch.setattr("tiffin.ingest.vanished.verify", fail)
    file(folder, "b.parquet", {1: 11}, 2)
    client.materialize_incremental()
    assert online(client, 1) == [11]
