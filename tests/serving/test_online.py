"""The online service: every route, every status, and the values that the store holds."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar.testing import TestClient

from tests.serving.online_world import KEYS, NOW, TYPES, fill, serving
from tiffin import Client, Feature, ValueType, clock
from tiffin.online.base import TableId
from tiffin.online.layout import is_online_only
from tiffin.online.lmdb import open_store
from tiffin.serving.online.app import ROUTES, Online

EVERYTHING = [f"everything:{dtype.name.lower()}" for dtype in TYPES]
Service = TestClient[Online]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("online") / "home"
    with Client(home=str(home)) as client:
        fill(client)
    return home


@pytest.fixture(scope="module")
def service(filled: Path) -> Iterator[Service]:
    limits = {"serving_max_rows": 50, "serving_max_features": 20, "serving_max_body": "100kB"}
    with serving(filled, **limits) as client:
        yield client


@pytest.fixture(scope="module")
def client(filled: Path) -> Iterator[Client]:
    with Client(home=str(filled)) as opened:
        yield opened


def ask(service: Service, **body: Any) -> Any:
    answer = service.post("/v1/features/online", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def feast(service: Service, **body: Any) -> Any:
    answer = service.post("/get-online-features", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# Values


def shown(value: Any, dtype: ValueType, *, feast: bool) -> Any:
    """A value of the client as the service writes it."""
    if value is None:
        return None
    if dtype.is_list:
        return [shown(item, dtype.element, feast=feast) for item in value]
    match dtype:
        case ValueType.BYTES:
            return base64.b64encode(value).decode()
        case ValueType.UNIX_TIMESTAMP:
            micros = clock.to_micros(value)
            return micros // 1_000_000 if feast else micros
        case ValueType.FLOAT | ValueType.DOUBLE if math.isnan(value):
            return "NaN"
        case ValueType.FLOAT | ValueType.DOUBLE if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case _:
            return value


def test_values_of_every_type_equal_those_of_the_client(service: Service, client: Client) -> None:
    local = client.get_online_features(EVERYTHING, {"driver_id": KEYS})
    found = ask(service, features=EVERYTHING, entities={"driver_id": KEYS})
    assert found["metadata"] == {"rows": len(KEYS)}
    assert found["entities"] == [{"name": "driver_id", "type": "INT64", "values": KEYS}]
    assert [each["name"] for each in found["features"]] == EVERYTHING
    for each, dtype in zip(found["features"], TYPES, strict=True):
        name = each["name"]
        assert each["type"] == dtype.name
        assert each["values"] == [shown(v, dtype, feast=False) for v in local.to_dict()[name]], name
        assert each["statuses"] == [str(status) for status in local.statuses()[name]], name
        times = local.event_timestamps()[name]
        assert each["event_timestamps"] == [None if t is None else clock.to_micros(t) for t in times], name
    assert found["features"][0]["statuses"] == ["PRESENT"] * 3 + ["NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


def test_feast_s_shape_has_the_same_values(service: Service, client: Client) -> None:
    local = client.get_online_features(EVERYTHING, {"driver_id": KEYS})
    found = feast(service, features=EVERYTHING, entities={"driver_id": KEYS})
    assert found["metadata"]["feature_names"] == ["driver_id", *(dtype.name.lower() for dtype in TYPES)]
    keys, *features = found["results"]
    epoch = "1970-01-01T00:00:00Z"
    assert keys == {"values": KEYS, "statuses": ["PRESENT"] * 6, "event_timestamps": [epoch] * 6}
    for each, name, dtype in zip(features, EVERYTHING, TYPES, strict=True):
        assert each["values"] == [shown(v, dtype, feast=True) for v in local.to_dict()[name]], name
        assert each["statuses"] == [str(status) for status in local.statuses()[name]], name
        times = [clock.EPOCH if t is None else t for t in local.event_timestamps()[name]]
        assert [datetime.fromisoformat(t) for t in each["event_timestamps"]] == times
        assert each["event_timestamps"][5] == epoch


def test_integers_and_floats_keep_their_kind_in_the_bytes(service: Service) -> None:
    body = {"features": ["everything:int64", "everything:double_list"], "entities": {"driver_id": [3]}}
    assert b'"values":[9223372036854775807]' in service.post("/get-online-features", json=body).content


def test_an_arrow_stream_has_exact_types(service: Service, client: Client) -> None:
    body = {"features": EVERYTHING, "entities": {"driver_id": KEYS}}
    answer = service.post(
        "/v1/features/online", json=body, headers={"Accept": "application/vnd.apache.arrow.stream, */*;q=0.1"}
    )
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    frame = pl.read_ipc_stream(BytesIO(answer.content))
    local = client.get_online_features(EVERYTHING, {"driver_id": KEYS})
    assert frame.select("driver_id", *EVERYTHING).equals(local.to_polars())
    for name in EVERYTHING:
        assert frame[f"{name}@status"].to_list() == [str(status) for status in local.statuses()[name]]
        assert frame[f"{name}@event_timestamp"].to_list() == local.event_timestamps()[name]


# What may be asked


def test_rows_or_columns_services_and_projects(service: Service) -> None:
    columns = ask(service, features=["everything:int32"], entities={"driver_id": [1, 6]})
    rows = ask(service, features=["everything:int32"], entity_rows=[{"driver_id": 1}, {"driver_id": 6}])
    assert rows == columns
    keys = {"driver_id": [1], "city": ["Pune"]}
    model = ask(service, feature_service="model", entities=keys)
    assert [(each["name"], each["values"]) for each in model["features"]] == [
        ("trips:count", [7]),
        ("everything:int64", [-(2**63)]),
    ]
    there = ask(service, project="other", features=["ratings:stars"], entities={"driver_id": [1]})
    assert there["features"][0]["name"] == "ratings:stars"
    across = ask(service, features=["other/ratings:stars", "trips:count"], entities=keys)
    assert [(each["name"], each["values"]) for each in across["features"]] == [
        ("other/ratings:stars", [4.5]),
        ("trips:count", [7]),
    ]


def test_the_order_of_the_answer_is_that_of_the_request(service: Service) -> None:
    keys = {"city": ["Goa", "Pune", "Nowhere"], "extra": [1, 2, 3], "driver_id": ["2", 1, None]}
    found = ask(service, features=["everything:bool", "trips:count", "everything:bool"], entities=keys)
    assert [each["name"] for each in found["entities"]] == ["city", "driver_id"]
    assert found["entities"][1]["values"] == [2, 1, None]
    assert [each["name"] for each in found["features"]] == ["everything:bool", "trips:count"]
    assert found["features"][1]["values"] == [8, 7, None]
    shape = feast(service, features=["trips:count"], entities=keys, full_feature_names=True)
    assert shape["metadata"]["feature_names"] == ["city", "driver_id", "trips__count"]
    assert shape["results"][1] == {
        "values": [2, 1, None],
        "statuses": ["PRESENT", "PRESENT", "NULL_VALUE"],
        "event_timestamps": ["1970-01-01T00:00:00Z"] * 3,
    }


def test_keys_of_bytes_and_instants(service: Service) -> None:
    keys = {"token": ["AP8="], "since": ["2026-01-01T00:00:00Z"]}
    found = ask(service, features=["odd:f"], entities=keys)
    assert found["features"][0]["values"] == [1.5]
    assert found["entities"][0]["values"] == ["AP8="]
    seconds = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    rows = ask(service, features=["odd:f"], entity_rows=[{"token": "AP8=", "since": seconds}])
    assert rows == found
    shape = feast(service, features=["odd:f"], entities=keys)
    assert shape["results"][1]["values"] == [seconds]
    refused = service.post("/v1/features/online", json={"features": ["odd:f"], "entities": {**keys, "token": ["!"]}})
    assert (refused.status_code, refused.json()["field"]) == (422, "token")


def test_a_request_may_say_what_time_it_is(service: Service) -> None:
    then = (NOW - timedelta(days=2.5)).isoformat()
    keys = {"driver_id": [5, 5], "event_timestamp": [then, None]}
    found = ask(service, features=["everything:bool"], entities=keys)
    assert found["features"][0]["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE"]


def test_no_rows_are_no_error(service: Service) -> None:
    assert ask(service, features=["trips:count"], entity_rows=[])["features"][0]["values"] == []
    assert feast(service, features=["trips:count"], entities={"driver_id": [], "city": []})["results"][0] == {
        "values": [],
        "statuses": [],
        "event_timestamps": [],
    }


# What is refused

ONE = {"driver_id": [1]}
REFUSED: list[tuple[dict[str, Any], int, str | None]] = [
    ({"features": ["everythin:bool"], "entities": ONE}, 404, "name"),
    ({"features": ["everything:bol"], "entities": ONE}, 404, "features"),
    ({"feature_service": "nobody", "entities": ONE}, 404, "feature_service"),
    ({"project": "nowhere", "features": ["a:b"], "entities": ONE}, 404, "project"),
    ({"features": ["everything"], "entities": ONE}, 422, "features"),
    ({"features": [], "entities": ONE}, 422, "features"),
    ({"features": "everything:bool", "entities": ONE}, 422, "body"),
    ({"entities": ONE}, 422, "features"),
    ({"features": ["everything:bool"]}, 422, "entities"),
    ({"features": ["everything:bool"], "entities": ONE, "entity_rows": [{"driver_id": 1}]}, 422, "entities"),
    ({"features": ["everything:bool"], "entities": {"driver": [1]}}, 422, "driver_id"),
    ({"features": ["trips:count"], "entities": ONE}, 422, "city"),
    ({"features": ["trips:count"], "entities": {"driver_id": [1, 2], "city": ["a"]}}, 422, "entities"),
    ({"features": ["everything:bool"], "entities": {"driver_id": [1.5]}}, 422, "driver_id"),
    ({"features": ["everything:bool"], "entities": {"driver_id": [[1]]}}, 422, "driver_id"),
    ({"features": ["everything:bool"], "entities": {"driver_id": [{}]}}, 422, "driver_id"),
    ({"features": ["everything:bool"], "entities": {"driver_id": [2**80]}}, 422, "driver_id"),
    ({"features": ["everything:bool"], "entities": {"driver_id": 1}}, 422, "body"),
    ({"features": ["everything:bool"], "entity_rows": [1]}, 422, "body"),
    ({"features": ["everything:bool"], "entities": ONE, "event_timestamp": 1}, 422, "body"),
    ({"features": ["everything:bool"], "entities": {**ONE, "event_timestamp": ["soon"]}}, 422, "event_timestamp"),
    ({"features": ["everything:bool"], "entities": {"driver_id": [1] * 51}}, 422, "entities"),
    ({"features": [f"a:f{n}" for n in range(21)], "entities": ONE}, 422, "features"),
]


@pytest.mark.parametrize(("body", "status", "field"), REFUSED)
def test_a_mistake_is_told(service: Service, body: dict[str, Any], status: int, field: str | None) -> None:
    answer = service.post("/v1/features/online", json=body)
    told = answer.json()
    assert (answer.status_code, told["field"]) == (status, field), told
    assert set(told) >= {"code", "message", "field", "hint", "request_id"}
    assert told["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b'{"entities": NaN}', b"[" * 50_000, b'{"entities":{"a":[1e999]}}']
)
@pytest.mark.parametrize("path", [path for path, route in ROUTES.items() if route.method == "POST"])
def test_a_body_that_is_no_request_is_told(service: Service, path: str, data: bytes) -> None:
    answer = service.post(path, content=data)
    assert answer.status_code == 422, answer.text
    assert answer.json()


def test_a_body_has_its_limit(service: Service) -> None:
    for path in ("/v1/features/online", "/get-online-features", "/push"):
        assert service.post(path, content=b"x" * 100_001).status_code == 413
        assert service.post(path, content=iter([b"x" * 60_000, b"x" * 60_000])).status_code == 413
    compressed = service.post("/push", content=b"x", headers={"Content-Encoding": "gzip"})
    assert compressed.status_code == 422


def test_routes_and_methods(service: Service) -> None:
    unknown = service.get("/v1/feature/online")
    assert (unknown.status_code, unknown.json()["hint"]) == (404, "Did you mean '/v1/features/online'?")
    for path, route in ROUTES.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - {route.method}:
            answer = service.request(method, path)
            assert answer.status_code == 405
            assert route.method in answer.headers["allow"]
            assert answer.json()
    assert service.head("/health").status_code == 200


def test_health_readiness_and_metrics(service: Service) -> None:
    health = service.get("/health")
    assert (health.status_code, health.content) == (200, b"")
    ready = service.get("/ready").json()
    assert ready["status"] == "ready"
    assert 0 <= ready["snapshot_age_seconds"] < 5
    ask(service, features=["trips:count"], entities={"driver_id": [9], "city": ["x"]})
    text = service.get("/metrics").text
    assert "tiffin_serving_not_found_feature_count" in text
    assert "tiffin_serving_snapshot_age_seconds" in text


def test_more_at_once_than_a_worker_takes_is_told_to_wait(filled: Path) -> None:
    with serving(filled, serving_max_requests=0) as busy:
        answer = busy.post("/v1/features/online", json={"features": ["trips:count"], "entities": ONE})
        assert (answer.status_code, answer.json()["code"]) == (429, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert busy.get("/health").status_code == 200
    with serving(filled, serving_max_writes=0) as busy:
        answer = busy.post("/push", json={"push_source_name": "trips", "df": {}})
        assert answer.status_code == 429
        assert (
            busy.post(
                "/get-online-features", json={"features": ["trips:count"], "entities": {**ONE, "city": ["x"]}}
            ).status_code
            == 200
        )


# Definitions that change


def wait_for(condition: Any, seconds: float = 5.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_change_is_served_within_a_second(home: Path) -> None:
    with Client(home=str(home)) as client:
        fill(client)
        with serving(home) as service:
            body = {"features": ["trips:later"], "entities": {"driver_id": [1], "city": ["Pune"]}}
            assert service.post("/v1/features/online", json=body).status_code == 404
            assert ask(service, features=["trips:count"], entities=body["entities"])["features"][0]["values"] == [7]
            table = client.get_feature_table("trips")
            table.features = [*table.features, Feature("later", ValueType.STRING)]
            client.apply(table)
            took = wait_for(lambda: service.post("/v1/features/online", json=body).status_code == 200)
            assert took < 1.5
            assert ask(service, **body)["features"][0]["statuses"] == ["NOT_FOUND"]
            rows = {"driver_id": [1], "city": ["Pune"], "count": [9], "int64": [1], "later": ["now"]}
            client.push("trips", pl.DataFrame(rows | {"event_timestamp": [datetime.now(UTC)]}))
            assert ask(service, **body)["features"][0]["values"] == ["now"]
            assert ask(service, features=["trips:count"], entities=body["entities"])["features"][0]["values"] == [9]
            client.delete_feature_table("trips", allow_breaking=True)
            wait_for(lambda: service.post("/v1/features/online", json=body).status_code == 404)


def test_a_store_that_is_replaced_is_opened_anew(home: Path) -> None:
    import shutil

    with Client(home=str(home)) as client:
        fill(client)
        with serving(home) as service:
            body = {"features": ["trips:count"], "entities": {"driver_id": [1], "city": ["Pune"]}}
            assert ask(service, **body)["features"][0]["values"] == [7]
            shutil.rmtree(home / "online")
            client.materialize_incremental("trips")
            wait_for(lambda: ask(service, **body)["features"][0]["values"] == [7])


def test_reads_go_on_while_the_registry_is_away_and_after_a_start(home: Path) -> None:
    with Client(home=str(home)) as client:
        fill(client)
    body = {"features": ["trips:count"], "entities": {"driver_id": [1], "city": ["Pune"]}}
    with serving(home) as service:
        assert ask(service, **body)["features"][0]["values"] == [7]
    # A core service that nobody answers for: the same name, so the same snapshot.
    away = {"core_url": "127.0.0.1:1", "online_store": f"lmdb://{home}/online"}
    snapshots = list((home / "serving").glob("*.snapshot"))
    assert len(snapshots) == 1
    with serving(home, **away) as service:
        assert service.get("/health").status_code == 503
        answer = service.post("/v1/features/online", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    from tiffin.config import Config
    from tiffin.serving.online.app import _snapshot_name

    snapshots[0].rename(home / "serving" / _snapshot_name(Config({"home": str(home)} | away)))
    with serving(home, **away) as service:
        assert service.get("/health").status_code == 200
        assert service.get("/ready").json()["snapshot_age_seconds"] is None
        assert ask(service, **body)["features"][0]["values"] == [7]
        push = service.post("/push", json={"push_source_name": "trips", "df": {}})
        assert push.status_code == 503


# Writes


ROW = {"driver_id": [11], "city": ["Pune"], "count": [1], "int64": [2]}


def pushed(service: Service, to: str, **changes: Any) -> Any:
    df = ROW | {"event_timestamp": [datetime.now(UTC).replace(tzinfo=None).isoformat()]} | changes
    return service.post("/push", json={"push_source_name": "trips", "df": df, "to": to, "allow_registry_cache": True})


def counts(client: Client, key: int) -> tuple[Any, list[Any]]:
    """What the online store and the history hold of a key."""
    online = client.get_online_features(["trips:count"], [{"driver_id": key, "city": "Pune"}]).to_dict()["trips:count"][
        0
    ]
    frame = client.latest(["trips:count"]).to_polars().filter(pl.col("driver_id") == key)
    return online, frame["trips__count"].to_list()


def test_a_push_goes_where_it_is_sent(service: Service, client: Client, filled: Path) -> None:
    for key, to, expected in (
        (21, "online", (1, [])),
        (22, "offline", (None, [1])),
        (23, "online_and_offline", (1, [1])),
    ):
        answer = pushed(service, to, driver_id=[key])
        assert (answer.status_code, answer.content) == (200, b"")
        assert counts(client, key) == expected
    store = open_store(f"lmdb://{filled}/online")
    alone = [is_online_only(value) for _, value in store.scan(TableId("default", "trips"))]
    assert sorted(alone) == [False, False, False, True]
    store.close()


def test_feast_s_own_writes(service: Service, client: Client) -> None:
    df = ROW | {"driver_id": [31], "event_timestamp": ["2026-09-01T00:00:00"], "created": [None]}
    answer = service.post("/write-to-online-store", json={"feature_view_name": "trips", "df": df, "x": 1})
    assert (answer.status_code, answer.json()) == (200, None)
    assert counts(client, 31) == (1, [])
    values = client.get_online_features(["trips:count"], [{"driver_id": 31, "city": "Pune"}])
    assert values.event_timestamps()["trips:count"] == [datetime(2026, 9, 1, tzinfo=UTC)]


def test_the_later_event_wins_whichever_way_it_came(service: Service, client: Client) -> None:
    late, early = "2026-09-02T00:00:00", "2026-09-01T00:00:00"
    for to in ("online_and_offline", "online"):
        assert pushed(service, to, driver_id=[41], count=[2], event_timestamp=[late]).status_code == 200
        assert pushed(service, to, driver_id=[41], count=[1], event_timestamp=[early]).status_code == 200
        assert counts(client, 41)[0] == 2


def test_rows_of_every_type_arrive_as_they_were_sent(service: Service, client: Client) -> None:
    sent = ask(service, features=EVERYTHING, entities={"driver_id": [1, 2, 3, 4]})
    df = {each["name"].partition(":")[2]: each["values"] for each in sent["features"]}
    df["unix_timestamp"] = [micros and clock.to_iso(micros) for micros in df["unix_timestamp"]]
    df["unix_timestamp_list"] = [
        items and [micros and clock.to_iso(micros) for micros in items] for items in df["unix_timestamp_list"]
    ]
    df |= {"driver_id": [101, 102, 103, 104], "event_timestamp": [datetime.now(UTC).isoformat()] * 4}
    body = {"push_source_name": "everything", "df": df, "to": "online_and_offline"}
    answer = service.post("/push", json=body)
    assert answer.status_code == 200, answer.text
    found = ask(service, features=EVERYTHING, entities={"driver_id": [101, 102, 103, 104]})
    for before, after in zip(sent["features"], found["features"], strict=True):
        assert after["values"] == before["values"], before["name"]


PUSHES: list[tuple[dict[str, Any], int, str]] = [
    ({"push_source_name": "trip", "df": {}}, 422, "PushSourceNotFoundException"),
    ({"push_source_name": "trips", "df": {"driver_id": [1]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": ["soon"]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": [None]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2999-01-01T00:00:00"]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01", "2026-01-01"]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01"], "count": ["x"]}}, 422, "FeastError"),
    ({"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01"], "count": [1.5]}}, 422, "FeastError"),
    (
        {"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01"], "count": [{"a": 1}]}},
        422,
        "FeastError",
    ),
    (
        {"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01"], "driver_id": [None]}},
        422,
        "FeastError",
    ),
    (
        {"push_source_name": "trips", "df": ROW | {"event_timestamp": ["2026-01-01"]}, "to": "nowhere"},
        422,
        "FeastError",
    ),
    ({"push_source_name": "trips", "df": [1]}, 422, "FeastError"),
]


@pytest.mark.parametrize(("body", "status", "name"), PUSHES)
def test_a_push_that_cannot_be_is_refused(service: Service, body: dict[str, Any], status: int, name: str) -> None:
    for to in ("online", "online_and_offline"):
        answer = service.post("/push", json={"to": to} | body)
        assert answer.status_code == status, answer.text
        assert feast_error(answer) == name


def feast_error(answer: Any) -> str:
    import json

    told = json.loads(answer.json())
    assert told["module"] == "feast.errors"
    assert told["message"]
    name: str = told["class"]
    return name


FEAST: list[tuple[str, dict[str, Any], int, str]] = [
    ("/get-online-features", {"features": ["no:f"], "entities": ONE}, 404, "FeatureViewNotFoundException"),
    ("/get-online-features", {"features": ["trips:no"], "entities": ONE}, 404, "FeatureViewNotFoundException"),
    ("/get-online-features", {"feature_service": "no", "entities": ONE}, 404, "FeatureServiceNotFoundException"),
    ("/get-online-features", {"features": ["trips:count"], "entities": ONE}, 422, "FeastError"),
    (
        "/get-online-features",
        {"features": ["trips:count", "everything:count"], "entities": ONE},
        404,
        "FeatureViewNotFoundException",
    ),
    (
        "/get-online-features",
        {"features": ["trips:int64", "everything:int64"], "entities": {**ONE, "city": ["x"]}},
        422,
        "FeatureNameCollisionError",
    ),
    ("/write-to-online-store", {"feature_view_name": "no", "df": {}}, 404, "FeatureViewNotFoundException"),
    ("/materialize", {"start_ts": "2026-01-02", "end_ts": "2026-01-01"}, 422, "FeastError"),
    ("/materialize", {"start_ts": "x", "end_ts": "2026-01-01"}, 422, "FeastError"),
    (
        "/materialize",
        {"start_ts": "2026-01-01", "end_ts": "2026-01-02", "feature_views": ["no"]},
        404,
        "FeatureViewNotFoundException",
    ),
    ("/materialize", {"end_ts": "2026-01-02"}, 422, "FeastError"),
    ("/materialize-incremental", {"end_ts": "x"}, 422, "FeastError"),
]


@pytest.mark.parametrize(("path", "body", "status", "name"), FEAST)
def test_errors_have_feast_s_shape(service: Service, path: str, body: dict[str, Any], status: int, name: str) -> None:
    answer = service.post(path, json=body)
    assert (answer.status_code, feast_error(answer)) == (status, name), answer.text


def test_materialise_over_http(service: Service, client: Client) -> None:
    rows = ROW | {"driver_id": [51], "event_timestamp": [NOW - timedelta(hours=2)]}
    client.ingest("trips", pl.DataFrame(rows))
    assert counts(client, 51)[0] is None
    window = {"start_ts": "2020-01-01T00:00:00", "end_ts": "2999-01-01T00:00:00", "feature_views": ["trips"]}
    answer = service.post("/materialize", json=window)
    assert (answer.status_code, answer.json()) == (200, None)
    assert counts(client, 51)[0] == 1
    client.ingest("trips", pl.DataFrame(rows | {"driver_id": [52]}))
    answer = service.post("/materialize-incremental", json={"end_ts": "2026-01-01T00:00:00", "feature_views": None})
    assert (answer.status_code, answer.json()) == (200, None)
    assert counts(client, 52)[0] == 1
    assert client.list_jobs(include_terminated=True, table_name="trips")


def test_a_push_under_a_key_is_applied_once(service: Service, client: Client) -> None:
    df = ROW | {"driver_id": [61], "event_timestamp": ["2026-09-01T00:00:00"]}
    body = {"push_source_name": "trips", "df": df, "to": "online_and_offline"}
    for _ in range(2):
        assert service.post("/push", json=body, headers={"Idempotency-Key": "batch-61"}).status_code == 200
    other = {**body, "df": df | {"count": [5]}}
    assert service.post("/push", json=other, headers={"Idempotency-Key": "batch-61"}).status_code == 409
    assert counts(client, 61) == (1, [1])
