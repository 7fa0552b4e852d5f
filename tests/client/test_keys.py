"""A key has one reading, whichever way it takes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tiffin import Client, Entity, Feature, FeatureTable, ValueType

DAY = datetime(2026, 9, 1, tzinfo=UTC)


def test_a_whole_number_is_the_same_instant_in_history_and_online(tmp_path: Path) -> None:
    with Client(home=str(tmp_path)) as client:
        slot = Entity("slot", "Start of an hour", ValueType.UNIX_TIMESTAMP)
        client.apply([slot, FeatureTable("load", ["slot"], [Feature("rides", ValueType.INT64)])])
        seconds = int(DAY.timestamp())
        client.push("load", pl.DataFrame({"slot": [seconds], "event_timestamp": [DAY], "rides": [7]}))
        for key in (seconds, DAY):
            assert client.get_online_features(["load:rides"], [{"slot": key}]).to_dict()["load:rides"] == [7]
            asked = pl.DataFrame({"slot": [key], "event_timestamp": [DAY]})
            found = client.get_historical_features(["load:rides"], asked).to_polars()
            assert found["load__rides"].to_list() == [7]
