"""Homes and sources with letters that mean something elsewhere: in URLs, in patterns, in escapes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.errors import Unsupported

NAMES = ["a?b", "a b#c", "a[1]*", "ü u\u0308 日本", "50%", "a:b+c&d=e'\""]
NO_TABLES = ["a%20b", "a%2Fb", "a%25b", "a\\b"]
ROWS = pl.DataFrame({"id": [1, 2], "x": [7, 8], "event_timestamp": [datetime(2026, 9, 1, tzinfo=UTC)] * 2})
ASKED = pl.DataFrame({"id": [1], "event_timestamp": [datetime(2026, 9, 2, tzinfo=UTC)]})


def declared(source: Path | None) -> list[Entity | FeatureTable]:
    files = None if source is None else FileSource("event_timestamp", ParquetFormat(), str(source))
    return [
        Entity("id", value_type=ValueType.INT64),
        FeatureTable("t", ["id"], [Feature("x", ValueType.INT64)], files),
    ]


@pytest.mark.parametrize("of", ["home", "source"])
@pytest.mark.parametrize("name", NAMES)
def test_a_place_of_any_name_holds_its_own_rows(tmp_path: Path, name: str, of: str) -> None:
    home, source = (tmp_path / name, None) if of == "home" else (tmp_path / "home", tmp_path / name)
    (tmp_path / name).mkdir()  # a source with the letters of a pattern is one unless it exists
    with Client(home=home) as client:
        client.apply(declared(source))
        client.ingest("t", ROWS.head(1), idempotency_key="first")
        client.materialize_incremental()
        client.push("t", ROWS.tail(1))
        assert client.ingest("t", ROWS.head(1), idempotency_key="first").already_applied
        assert client.get_online_features(["t:x"], [{"id": 1}, {"id": 2}]).to_dict()["t:x"] == [7, 8]
        assert client.latest(["t:x"]).to_polars()["t__x"].sort().to_list() == [7, 8]
        job = client.get_historical_features(["t:x"], ASKED, str(tmp_path / name / "training"))
        assert job.to_polars()["t__x"].to_list() == [7]
    assert {place.name for place in tmp_path.iterdir()} == {name, home.name}
    assert {"registry.db", "online"} <= {place.name for place in home.iterdir()}
    history = home / "offline" / "default" / "t" if source is None else source
    files = [path for path in history.iterdir() if path.suffix == ".parquet"]
    assert sorted(value for path in files for value in pl.read_parquet(path, glob=False)["x"]) == [7, 8]


@pytest.mark.parametrize("of", ["home", "source"])
@pytest.mark.parametrize("name", NO_TABLES)
def test_an_escape_in_a_path_is_refused_before_anything_is_written(tmp_path: Path, name: str, of: str) -> None:
    home, source = (tmp_path / name, None) if of == "home" else (tmp_path / "home", tmp_path / name)
    with Client(home=home) as client:
        client.apply(declared(source))
        for fill in (client.ingest, client.push):
            with pytest.raises(Unsupported, match="escaped character") as refused:
                fill("t", ROWS)
            assert refused.value.hint
    assert [place.name for place in tmp_path.iterdir()] == [home.name]
    assert not (home / "offline").exists()


@pytest.mark.parametrize("name", NO_TABLES)
def test_files_below_an_escape_are_read(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.mkdir()
    ROWS.write_parquet(source / "part%20of it.parquet")
    with Client(home=tmp_path / "home") as client:
        client.apply(declared(source))
        client.materialize_incremental()
        assert client.get_online_features(["t:x"], [{"id": 2}]).to_dict()["t:x"] == [8]
        assert client.get_historical_features(["t:x"], ASKED).to_polars()["t__x"].to_list() == [7]
