"""Times in CSV: each text by itself, with a zone or without, in rows and in questions alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tiffin import Client, Entity, Feature, FeatureTable, ValueType
from tiffin.errors import InvalidData

MIDNIGHT = datetime(2024, 9, 1, tzinfo=UTC)
ONE_INSTANT = [
    "2024-09-01T00:00:00",
    "2024-09-01T00:00:00Z",
    "2024-09-01T02:00:00+02:00",
    "2024-09-01 00:00",
    "2024-09-01",
    "2024-08-31T19:00:00-0500",
    "2024-09-01 02:00:00.000+02:00",
]


def test_texts_of_one_instant_in_a_column_are_one_instant(tmp_path: Path) -> None:
    lines = [f"{number},{number},{text}" for number, text in enumerate(ONE_INSTANT)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,x,event_timestamp", *lines]))
    asked = [f"{number},{text}" for number, text in enumerate(ONE_INSTANT)]
    (tmp_path / "asked.csv").write_text("\n".join(["id,event_timestamp", *asked]))
    with Client(home=tmp_path / "home") as client:
        client.apply(
            [Entity("id", value_type=ValueType.INT64), FeatureTable("t", ["id"], [Feature("x", ValueType.INT64)])]
        )
        client.ingest("t", tmp_path / "rows.csv")
        assert client.latest(["t:x"], at=MIDNIGHT).to_polars().height == len(ONE_INSTANT)
        assert client.latest(["t:x"], at=MIDNIGHT - timedelta(microseconds=1)).to_polars().is_empty()
        answer = client.get_historical_features(["t:x"], str(tmp_path / "asked.csv")).to_polars()
        assert set(answer["event_timestamp"]) == {MIDNIGHT}
        assert answer["t__x"].to_list() == list(range(len(ONE_INSTANT)))
        (tmp_path / "asked.csv").write_text("id,event_timestamp\n1,2024-09-01T00:00:00Z\n2,yesterday\n")
        with pytest.raises(InvalidData, match="yesterday"):
            client.get_historical_features(["t:x"], str(tmp_path / "asked.csv"))
