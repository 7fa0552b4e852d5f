"""What the model server does with bodies that nobody should send, and with definitions that changed under its model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pipeline.test_server import NAME, World, counts, predict
from tests.serving.services import Service
from tiffin import Client, Entity, Feature, FeatureTable, ValueType


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Service]:
    service = world.serve(serving_max_body="1MB", serving_max_rows=500)
    yield service
    assert "Traceback" not in service.log
    assert service.stop() == 0


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, -(2**63), 1e308, -1e308, 5e-324, 2**1023]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=10,
)
_FIELDS = st.sampled_from(
    ["driver_id", "event_timestamp", "driver_statistics:conv_rate", "driver_statistics__acc_rate", "x", "ключ"]
)
_INSTANCES = st.one_of(
    st.dictionaries(_FIELDS, _SCALARS, max_size=4), st.lists(_SCALARS, min_size=4, max_size=4), _JSON
)
_TENSORS = st.fixed_dictionaries(
    {
        "name": st.one_of(st.sampled_from(["driver_id", "features", "event_timestamp"]), st.text(max_size=4)),
        "shape": st.lists(st.one_of(st.integers(0, 4), st.integers()), max_size=3),
        "datatype": st.sampled_from(["INT64", "FP64", "FP32", "BOOL", "BYTES", "UINT8", "X"]),
        "data": st.one_of(st.lists(_SCALARS, max_size=8), st.lists(st.lists(_SCALARS, max_size=4), max_size=3)),
    }
)


@settings(max_examples=250, deadline=None)
@given(body=st.one_of(st.fixed_dictionaries({"instances": st.lists(_INSTANCES, max_size=4)}), _JSON))
@example(body={"instances": [[1e308, 1e308, -1e308, 1e308]]})
@example(body={"instances": []})
@example(body={"instances": [{"driver_id": 1001, "event_timestamp": 10**30}]})
def test_whatever_is_asked_in_version_1_is_answered(server: Service, body: Any) -> None:
    answer = server.ask("POST", f"/v1/models/{NAME}:predict", body)
    assert answer.status < 500, (body, answer)
    if answer.status == 200:
        assert all(0 <= each["probability"] <= 1 for each in answer.json["predictions"])


@settings(max_examples=250, deadline=None)
@given(body=st.one_of(st.fixed_dictionaries({"inputs": st.lists(_TENSORS, max_size=3)}), _JSON))
@example(body={"inputs": [{"name": "features", "shape": [10**12, 0], "datatype": "FP64", "data": []}]})
def test_whatever_is_asked_in_version_2_is_answered(server: Service, body: Any) -> None:
    answer = server.ask("POST", f"/v2/models/{NAME}/infer", body)
    assert answer.status < 500, (body, answer)


def test_too_much_is_refused(server: Service) -> None:
    path = f"/v1/models/{NAME}:predict"
    assert server.ask("POST", path, b" " * 1_000_001).status == 413
    assert server.ask("POST", path, {"instances": [{"driver_id": 1}] * 501}).status == 422


def refused(service: Service, *words: str) -> None:
    """The server is not ready, and says why; so do predictions, but for features that are given."""
    until = time.monotonic() + 10  # a reader's definitions may be a second old
    while time.monotonic() < until:
        ready = service.ask("GET", f"/v1/models/{NAME}")
        if ready.status != 200 and all(word in ready.json["message"] for word in words):
            break
        time.sleep(0.1)
    answers = [ready, service.ask("POST", f"/v1/models/{NAME}:predict", {"instances": [{"driver_id": 1001}]})]
    for answer in answers:
        assert (answer.status, answer.json["code"]) == (503, "model_not_ready")
        assert answer.headers["retry-after"]
        assert all(word in answer.json["message"] for word in words), answer.json
    assert predict(service, [[1, 0.5, 0.5, 2]])


def test_definitions_that_no_longer_fit_are_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    service = world.serve()
    try:
        with Client(home=str(world.home)) as client:
            old = client.get_feature_table("driver_statistics")
            fewer = FeatureTable("driver_statistics", ["driver_id"], [Feature("acc_rate", ValueType.FLOAT)])
            client.apply([fewer], allow_breaking=True)
            refused(service, "avg_daily_trips")
            kinds = {feature.name: feature.dtype for feature in old.features} | {"conv_rate": ValueType.STRING}
            features = [Feature(name, dtype) for name, dtype in kinds.items()]
            client.apply([FeatureTable("driver_statistics", ["driver_id"], features)], allow_breaking=True)
            refused(service, "conv_rate", "STRING")
            features = [Feature(feature.name, feature.dtype) for feature in old.features]
            keyed = FeatureTable("driver_statistics", ["driver_id", "city_id"], features)
            client.apply([Entity("city_id", value_type=ValueType.STRING), keyed], allow_breaking=True)
            refused(service, "city_id")
    finally:
        service.stop()


def test_an_erased_key_leaves_the_log_and_does_not_return(world: World) -> None:
    folder = world.home / "served" / NAME
    service = world.serve()
    predict(service, [{"driver_id": "1003"}, {"driver_id": 1004}])
    until = time.monotonic() + 10
    while 1003 not in logged(folder) and time.monotonic() < until:
        time.sleep(0.1)
    assert {1003, 1004} <= logged(folder)
    with Client(home=str(world.home)) as client:
        report = client.erase("driver_id", 1003)
    assert report.removed["log of what was served"] >= 1
    assert 1003 not in logged(folder)
    predict(service, [{"driver_id": 1003}, {"driver_id": 1005}])
    assert service.stop() == 0
    assert 1005 in logged(folder)
    assert 1003 not in logged(folder)


def logged(folder: Path) -> set[int]:
    texts = [path.read_text() for path in folder.glob("*.jsonl")] if folder.exists() else []
    return {json.loads(line)["keys"].get("driver_id") for text in texts for line in text.splitlines()}


def test_the_log_is_read_by_polars_and_old_files_go(world: World) -> None:
    folder = world.home / "served" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / "2020-01-01-host-1.jsonl"
    old.write_text("{}\n")
    service = world.serve()
    predict(service, [{"driver_id": 1010}])
    service.stop()
    assert not old.exists()
    rows = pl.scan_ndjson(folder / "*.jsonl").select(pl.col("keys").struct.field("driver_id")).collect()
    assert 1010 in rows["driver_id"].to_list()


def test_a_disk_that_refuses_the_log_stops_no_prediction(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    service = world.serve(served_log=str(tmp_path / "file" / "log"))
    try:
        predict(service, [{"driver_id": 1010}])
        until = time.monotonic() + 10
        while ("tiffin_model_served_log_total", "dropped") not in counts(service) and time.monotonic() < until:
            time.sleep(0.1)
        assert counts(service)["tiffin_model_served_log_total", "dropped"] == 1
    finally:
        service.stop()
