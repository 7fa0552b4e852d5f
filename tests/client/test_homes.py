"""Homes with letters that mean something elsewhere: in URLs, in patterns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, ValueType


@pytest.mark.parametrize("name", ["a?b", "a b", "a#b", "a[1]", "a*", "\u00fc"])
def test_a_home_of_any_name_holds_its_own_store(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with Client(home=home) as client:
        client.apply(
            [Entity("id", value_type=ValueType.INT64), FeatureTable("t", ["id"], [Feature("x", ValueType.INT64)])]
        )
        client.ingest("t", pl.DataFrame({"id": [1], "x": [7], "event_timestamp": [datetime(2026, 9, 1, tzinfo=UTC)]}))
        client.materialize_incremental()
        assert client.get_online_features(["t:x"], [{"id": 1}]).to_dict()["t:x"] == [7]
        assert client.latest(["t:x"]).to_polars()["t__x"].to_list() == [7]
    assert [place.name for place in tmp_path.iterdir()] == [name]
    assert {"registry.db", "online", "offline"} <= {place.name for place in home.iterdir()}
