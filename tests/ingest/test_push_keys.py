"""One idempotency key, whichever way a batch comes: the same rows once, and no others under it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.conftest import in_this_process as tiffin
from tests.ingest.counting import Recorder, definitions, judged
from tests.serving.online_world import serving
from tiffin import Client
from tiffin.errors import Conflict

KEY = "Straße, 1. September/№ 7"


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with Client(home=str(home)) as client:
        client.apply(definitions())
        yield client


def rows(a: int = 1) -> pl.DataFrame:
    return judged()[:1].with_columns(a=pl.lit(a, pl.Int64))


def by_client(client: Client, home: Path, frame: pl.DataFrame) -> bool:
    return client.push("t", frame, idempotency_key=KEY).already_applied


def by_ingest(client: Client, home: Path, frame: pl.DataFrame) -> bool:
    return client.ingest("t", frame, idempotency_key=KEY).already_applied


def by_command(client: Client, home: Path, frame: pl.DataFrame) -> bool:
    file = home / "rows.csv"
    frame.with_columns(pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(file)
    told = tiffin("push", "t", str(file), "--idempotency-key", KEY, "--home", str(home), "--json")
    return bool(told.json["already_applied"])


def by_arrow(client: Client, home: Path, frame: pl.DataFrame) -> bool:
    from urllib.parse import quote

    body = BytesIO()
    frame.write_ipc_stream(body, compat_level=pl.CompatLevel.newest())
    with serving(home) as service:
        headers = {"idempotency-key": quote(KEY, safe="")}
        return applied(service.post("/v1/push?table=t", content=body.getvalue(), headers=headers))


def applied(answer: Any) -> bool:
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["already_applied"])


WAYS = [by_client, by_ingest, by_command, by_arrow]


@pytest.mark.parametrize("first", WAYS)
def test_the_same_rows_are_stored_once_whichever_way_they_come(client: Client, home: Path, first: Any) -> None:
    recorder = Recorder()
    client.measure(recorder)
    assert not first(client, home, rows())
    for way in WAYS:
        assert way(client, home, rows())
    stored = pl.concat(pl.read_parquet(file) for file in Path(home, "offline").rglob("*.parquet"))
    assert stored.height == 1
    client.materialize_incremental("t")
    assert client.get_online_features(["t:a"], [{"k": 1}]).to_dict()["t:a"] == [1]
    assert recorder.of("written").get("offline", 0) == (first in {by_client, by_ingest})
    with pytest.raises(Conflict):
        client.push("t", rows(2), idempotency_key=KEY)
    assert (
        tiffin("push", "t", str(changed(home)), "--idempotency-key", KEY, "--home", str(home), "--json", code=1).error[
            "code"
        ]
        == "conflict"
    )


def changed(home: Path) -> Path:
    file = home / "changed.parquet"
    rows(3).write_parquet(file)
    return file


def test_feast_s_push_takes_a_key_of_what_a_header_holds(client: Client, home: Path) -> None:
    columns = rows().with_columns(event_timestamp=pl.lit("2026-09-01T00:00:00")).to_dict(as_series=False)
    body = json.dumps({"push_source_name": "t", "df": columns, "to": "online_and_offline"})
    headers = {"idempotency-key": "september-7", "accept": "application/json"}
    with serving(home) as service:
        assert not applied(service.post("/push", content=body, headers=headers))
        assert applied(service.post("/push", content=body, headers=headers))
    assert client.push("t", rows(), idempotency_key="september-7").already_applied
