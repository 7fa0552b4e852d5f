"""What Feast loses or shows wrongly online, case by case, through the public names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(home=str(tmp_path / "home")) as client:
        source = FileSource("at", ParquetFormat(), str(tmp_path / "t"), created_timestamp_column="made")
        features = [Feature("count", ValueType.INT64), Feature("label", ValueType.STRING)]
        client.apply(
            [Entity("id", value_type=ValueType.INT64), FeatureTable("t", ["id"], features, source, None, 2 * HOUR)]
        )
        yield client


def batch(*given: tuple[int, datetime, int | None], made: datetime = NOW) -> pl.DataFrame:
    keys, times, counts = zip(*given, strict=True)
    return pl.DataFrame({"id": keys, "at": times, "made": made, "count": counts, "label": "x"})


def online(client: Client, *keys: int, at: datetime | None = None) -> tuple[list[Any], list[str]]:
    rows = [{"id": key} | ({} if at is None else {"event_timestamp": at}) for key in keys]
    answer = client.get_online_features(["t:count"], rows)
    return answer.to_dict()["t:count"], [str(status) for status in answer.statuses()["t:count"]]


def test_an_expired_value_is_not_present(client: Client) -> None:
    client.ingest("t", batch((1, NOW - 3 * HOUR, 1), (2, NOW - HOUR, 2)))
    client.materialize_incremental()
    assert online(client, 1, 2) == ([None, 2], ["OUTSIDE_MAX_AGE", "PRESENT"])
    edge = NOW + HOUR  # key 2 is then exactly as old as it may be
    assert online(client, 2, at=edge) == ([2], ["PRESENT"])
    assert online(client, 2, at=edge + timedelta(microseconds=1)) == ([None], ["OUTSIDE_MAX_AGE"])


@pytest.mark.parametrize("how", ["ingest", "push"])
def test_an_older_event_after_a_newer_one_does_not_overwrite(client: Client, how: str) -> None:
    for frame in (batch((1, NOW - HOUR / 2, 2)), batch((1, NOW - HOUR, 1), made=NOW + HOUR)):
        getattr(client, how)("t", frame)
        client.materialize_incremental()
    assert online(client, 1) == ([2], ["PRESENT"])


def test_a_late_row_is_picked_up_by_the_next_incremental_run(client: Client) -> None:
    client.ingest("t", batch((1, NOW, 1)))
    client.materialize_incremental()
    # Its event time lies before the last run's: a run that follows event times never sees it.
    client.ingest("t", batch((2, NOW - HOUR, 2)))
    assert client.materialize_incremental().rows_written == 1
    assert online(client, 1, 2) == ([1, 2], ["PRESENT", "PRESENT"])


def test_the_later_created_of_two_rows_of_one_time_wins_in_either_order(client: Client) -> None:
    rows = [batch((1, NOW, 1), made=NOW + HOUR), batch((1, NOW, 2), made=NOW)]
    for frame in rows:
        client.ingest("t", frame)
        client.materialize_incremental()
    assert online(client, 1) == ([1], ["PRESENT"])


def test_an_integer_beside_nulls_stays_an_integer(client: Client) -> None:
    big = 2**53 + 1
    client.ingest("t", batch((1, NOW, big), (2, NOW, None)))
    client.materialize_incremental()
    assert online(client, 1, 2) == ([big, None], ["PRESENT", "NULL_VALUE"])
    frame = client.get_online_features(["t:count"], [{"id": 1}, {"id": 2}]).to_pandas()
    assert frame["t:count"].tolist() == [big, pd.NA]
    asked = pd.DataFrame({"id": [1, 2], "event_timestamp": [NOW, NOW]})
    trained = client.get_historical_features(["t:count"], asked).to_pandas()
    assert trained["t__count"].tolist() == [big, pd.NA]


def test_a_null_in_the_newest_row_is_not_filled_from_an_older_one(client: Client) -> None:
    client.ingest("t", batch((1, NOW - HOUR, 1)))
    client.materialize_incremental()
    client.ingest("t", batch((1, NOW, None)))
    client.materialize_incremental()
    assert online(client, 1) == ([None], ["NULL_VALUE"])


def test_a_key_may_be_a_text_of_its_number_and_extra_keys_are_ignored(client: Client) -> None:
    client.ingest("t", batch((1, NOW, 1)))
    client.materialize_incremental()
    answer = client.get_online_features(["t:count"], [{"id": "1", "other": "x"}])
    assert answer.to_dict() == {"id": [1], "t:count": [1]}


def test_rows_that_differ_in_microseconds_are_told_apart(client: Client) -> None:
    step = timedelta(microseconds=1)
    client.ingest("t", batch((1, NOW - step, 1), (1, NOW - 2 * step, 2)))
    client.materialize_incremental()
    assert online(client, 1) == ([1], ["PRESENT"])
    asked = pl.DataFrame({"id": [1], "event_timestamp": [NOW - 2 * step]})
    assert client.get_historical_features(["t:count"], asked).to_polars()["t__count"].to_list() == [2]
