"""Deletions by every way of pushing: null in training sets, NOT_FOUND online, and no older row brings the key back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.conftest import in_this_process as tiffin
from tests.serving.online_world import serving
from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.online.read import Status

DAY = datetime(2026, 9, 1, tzinfo=UTC)
Push = Callable[[pl.DataFrame], None]


def rows(day: int, *, gone: bool | None = None, a: int | None = None, key: int = 1) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"k": [key], "at": [DAY + timedelta(days=day)], "a": [a]},
        schema={"k": pl.Int64, "at": pl.Datetime("us", "UTC"), "a": pl.Int64},
    )
    return frame if gone is None else frame.with_columns(gone=pl.lit(gone))


def definitions(home: Path) -> list[Any]:
    source = FileSource("at", ParquetFormat(), str(home / "history"))
    features = [Feature("a", ValueType.INT64)]
    return [
        Entity("k", value_type=ValueType.INT64),
        FeatureTable("t", ["k"], features, batch_source=source, deleted_column="gone"),
    ]


@pytest.fixture(params=["lmdb", "redis"])
def client(request: pytest.FixtureRequest, home: Path) -> Iterator[Client]:
    options = {} if request.param == "lmdb" else {"online_store": request.getfixturevalue("redis_uri")}
    with Client(home=str(home), **options) as client:
        client.apply(definitions(home))
        yield client


def ways(client: Client, home: Path, folder: Path, service: Any) -> dict[str, Push]:
    def command(frame: pl.DataFrame) -> None:
        frame.write_parquet(folder / "rows.parquet")
        store = client.config.get("online_store")
        options = ["--home", str(home)]
        with pytest.MonkeyPatch.context() as patch:
            if store:
                patch.setenv("TIFFIN_ONLINE_STORE", store)
            tiffin("push", "t", str(folder / "rows.parquet"), *options)

    def feast(frame: pl.DataFrame) -> None:
        columns = frame.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S")).to_dict(as_series=False)
        body = {"push_source_name": "t", "df": columns, "to": "online_and_offline"}
        answer = service.post("/push", content=json.dumps(body))
        assert answer.status_code == 200, answer.text

    def arrow(frame: pl.DataFrame) -> None:
        body = BytesIO()
        frame.write_ipc_stream(body, compat_level=pl.CompatLevel.newest())
        answer = service.post("/v1/push?table=t", content=body.getvalue())
        assert answer.status_code == 200, answer.text

    def later(frame: pl.DataFrame) -> None:
        client.ingest("t", frame)
        client.materialize_incremental("t")

    return {
        "client": lambda frame: client.push("t", frame),
        "cli": command,
        "feast": feast,
        "arrow": arrow,
        "later": later,
    }


def online(client: Client, key: int = 1) -> tuple[int | None, Status]:
    answer = client.get_online_features(["t:a"], [{"k": key}])
    return answer.to_dict()["t:a"][0], answer.statuses()["t:a"][0]


def past(client: Client, *days: int, key: int = 1) -> list[int | None]:
    asked = pl.DataFrame({"k": [key] * len(days), "event_timestamp": [DAY + timedelta(days=day) for day in days]})
    answer: list[int | None] = client.get_historical_features(["t:a"], asked).to_polars()["t__a"].to_list()
    return answer


WAYS = [("lmdb", way) for way in ("client", "cli", "feast", "arrow", "later")] + [
    ("redis", "client"),
    ("redis", "feast"),
]


@pytest.mark.parametrize(("client", "way"), WAYS, indirect=["client"])
def test_a_deletion_is_the_latest_word_until_a_later_one(client: Client, home: Path, tmp_path: Path, way: str) -> None:
    options = {"online_store": store} if (store := client.config.get("online_store")) else {}
    with serving(home, **options) as service:
        push = ways(client, home, tmp_path, service)[way]
        push(rows(1, a=1))  # a batch need not have the column
        assert online(client) == (1, Status.PRESENT)
        push(rows(3, gone=True))
        assert online(client) == (None, Status.NOT_FOUND)
        assert past(client, 0, 1, 2, 3, 4) == [None, 1, 1, None, None]
        push(rows(2, gone=False, a=2))
        assert online(client) == (None, Status.NOT_FOUND)
        assert past(client, 1, 2, 3, 4) == [1, 2, None, None]
        push(rows(2, a=2))  # nor does a batch that knows of no deletions
        assert online(client) == (None, Status.NOT_FOUND)
        push(rows(5, a=5))
        assert online(client) == (5, Status.PRESENT)
        assert past(client, 2, 3, 4, 5) == [2, None, None, 5]


def test_a_deletion_of_what_never_was_keeps_older_rows_out(client: Client) -> None:
    client.push("t", rows(3, gone=True))
    client.push("t", rows(2, a=2))
    assert online(client) == (None, Status.NOT_FOUND)
    assert past(client, 2, 3) == [2, None]


def test_the_later_created_wins_at_one_instant(client: Client) -> None:
    client.push("t", rows(1, a=1))
    client.push("t", rows(1, gone=True))
    assert online(client) == (None, Status.NOT_FOUND)
    client.push("t", rows(1, gone=False, a=2))
    assert online(client) == (2, Status.PRESENT)
    assert past(client, 1) == [2]


def test_a_batch_may_carry_both(client: Client) -> None:
    both = pl.concat([rows(1, gone=False, a=1), rows(1, gone=False, a=2, key=2), rows(2, gone=True)])
    assert client.push("t", both).rows == 3
    assert online(client) == (None, Status.NOT_FOUND)
    assert online(client, 2) == (2, Status.PRESENT)


def test_a_deletion_through_the_online_store_alone(client: Client, home: Path) -> None:
    client.push("t", rows(1, a=1))
    options = {"online_store": store} if (store := client.config.get("online_store")) else {}
    with serving(home, **options) as service:
        columns = {"k": [1], "at": ["2026-09-04T00:00:00"], "a": [None], "gone": [True]}
        body = {"feature_view_name": "t", "df": columns}
        assert service.post("/write-to-online-store", json=body).status_code == 200
    assert online(client) == (None, Status.NOT_FOUND)
    assert past(client, 9) == [1]
    client.push("t", rows(2, a=2))
    assert online(client) == (None, Status.NOT_FOUND)


def test_all_of_a_rebuilt_store_is_as_it_was(client: Client) -> None:
    client.push("t", rows(3, gone=True))
    client.push("t", rows(2, a=2))
    client.push("t", rows(2, a=7, key=2))
    client.materialize("t")
    assert online(client) == (None, Status.NOT_FOUND)
    assert online(client, 2) == (7, Status.PRESENT)
    assert client.latest(["t:a"]).to_polars().sort("k").select("k", "t__a").rows() == [(2, 7)]
