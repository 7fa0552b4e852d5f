"""The model server as its callers meet it, in a process of its own over a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.pipeline.store import FEATURES, TARGET, fill, statistics
from tests.serving.services import Service
from tiffin import Client
from tiffin.pipeline import retrieve, train
from tiffin.pipeline.fit import Settings
from tiffin.pipeline.matrix import matrix
from tiffin.pipeline.model import Model
from tiffin.pipeline.network import with_card

APPLICATION = "tiffin.pipeline.server.app:create_app"
NAME = "sales"
DRIVERS = range(1001, 1041)


class World:
    """A store whose online rows are filled, a model of it, and a server that answers with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        rows = statistics().select("driver_id", "event_timestamp")
        with fill(self.home) as client:
            client.materialize()
            dataset = retrieve.retrieve(client, FEATURES, rows, TARGET)
        model, _ = train.train(dataset, Settings(epochs=5, learning_rate=0.01), name=NAME, classes=("Loss", "Profit"))
        model.save(str(folder / "model"))
        refusing = Model(with_card(model.content, model.card.replace(missing="refuse", name="strict")))
        refusing.save(str(folder / "strict"))
        self.model = model
        self._numbers = count()

    def serve(self, model: str = "model", **options: Any) -> Service:
        given = {"home": str(self.home), "model": str(self.folder / model), "served_log_share": "1"} | options
        folder = self.folder / f"server-{next(self._numbers)}"
        folder.mkdir()
        service = Service(folder, APPLICATION, **given)
        service.start()
        return service


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Service]:
    service = world.serve()
    yield service
    service.stop()


def predict(server: Service, instances: list[Any], name: str = NAME) -> Any:
    answer = server.ask("POST", f"/v1/models/{name}:predict", {"instances": instances})
    assert answer.status == 200, answer.body
    return answer.json


def expected(world: World) -> np.ndarray:
    """The model on the newest features of every driver, as history tells them."""
    with Client(home=str(world.home)) as client:
        newest = client.latest(list(world.model.card.features)).to_polars().sort("driver_id")
    assert newest["driver_id"].to_list() == list(DRIVERS)
    return world.model.scores(matrix(newest, world.model.card.columns))


def test_what_is_served_is_what_the_model_says_of_history_to_the_last_bit(world: World, server: Service) -> None:
    told = predict(server, [{"driver_id": driver} for driver in DRIVERS])["predictions"]
    scores = expected(world)
    assert np.array([each["probability"] for each in told], dtype=np.float32).tobytes() == scores.tobytes()
    assert [each["class"] for each in told] == world.model.classes(scores)
    alone = [predict(server, [{"driver_id": driver}])["predictions"][0]["probability"] for driver in DRIVERS]
    assert np.array(alone, dtype=np.float32).tobytes() == scores.tobytes()
    acc = "driver_statistics:acc_rate"
    for each in told:
        assert (each["statuses"][acc] == "NULL_VALUE") == (acc in each["imputed"])
    assert any(each["imputed"] for each in told)


def test_both_protocols_say_the_same(world: World, server: Service) -> None:
    keys = list(DRIVERS)[:5]
    asked = {"id": "x1", "inputs": [{"name": "driver_id", "shape": [5], "datatype": "INT64", "data": keys}]}
    answer = server.ask("POST", f"/v2/models/{NAME}/infer", asked)
    assert answer.status == 200, answer.body
    outputs = {tensor["name"]: tensor for tensor in answer.json["outputs"]}
    first = predict(server, [{"driver_id": key} for key in keys])["predictions"]
    assert outputs["probability"]["data"] == [each["probability"] for each in first]
    assert outputs["class"]["data"] == [each["class"] for each in first]
    assert outputs["statuses"]["shape"] == [5, 4]
    assert outputs["statuses"]["data"] == [status for each in first for status in each["statuses"].values()]
    assert (answer.json["id"], answer.json["model_name"]) == ("x1", NAME)


def test_features_may_be_given_instead_of_keys(world: World, server: Service) -> None:
    rows = [[500, 0.25, None, 40], [1, 1.0, 0.5, 5]]
    scores = world.model.scores(np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float))
    by_name = [dict(zip(world.model.card.features, row, strict=True)) for row in rows]
    by_column = [dict(zip(world.model.card.columns, row, strict=True)) for row in rows]
    del by_column[0]["driver_statistics__acc_rate"]
    for instances in (rows, by_name, by_column):
        told = predict(server, instances)["predictions"]
        assert [np.float32(each["probability"]) for each in told] == scores.tolist()
        assert told[0]["imputed"] == ["driver_statistics:acc_rate"]
    tensor = {"name": "features", "shape": [2, 4], "datatype": "FP64", "data": rows}
    answer = server.ask("POST", f"/v2/models/{NAME}/infer", {"inputs": [tensor]})
    assert [np.float32(each) for each in answer.json["outputs"][0]["data"]] == scores.tolist()


def test_a_key_that_nobody_knows_is_guessed_or_refused_as_the_model_says(world: World, server: Service) -> None:
    (told,) = predict(server, [{"driver_id": 9999}])["predictions"]
    assert set(told["statuses"].values()) == {"NOT_FOUND"}
    assert told["imputed"] == list(world.model.card.features)
    strict = world.serve("strict")
    try:
        answer = strict.ask("POST", "/v1/models/strict:predict", {"instances": [{"driver_id": 9999}]})
        assert answer.status == 422
        assert answer.json["code"] == "missing_features"
        assert "instance 0: driver_statistics:avg_daily_trips is NOT_FOUND" in answer.json["message"]
        assert counts(strict)["tiffin_model_refused_total", "missing_features"] == 1
    finally:
        strict.stop()


def test_an_instance_may_say_for_which_instant_it_asks(world: World, server: Service) -> None:
    (now,), (then,) = (
        predict(server, [{"driver_id": 1001, **more}])["predictions"]
        for more in ({}, {"event_timestamp": "2020-09-21T12:00:00Z"})
    )
    assert now == then  # of a table without a maximum age
    answer = server.ask(
        "POST", f"/v1/models/{NAME}:predict", {"instances": [{"driver_id": 1001, "event_timestamp": "soon"}]}
    )
    assert (answer.status, answer.json["field"]) == (422, "event_timestamp")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "body"),
        (b'{"instances": 1}', "body"),
        (b'{"instances": ["x"]}', "body"),
        (b'{"instances": [{}]}', "instances"),
        (b'{"instances": [{"car": 1}]}', "instances"),
        (b'{"instances": [[1, 2]]}', "instances"),
        (b'{"instances": [[1, 2, 3, "4"]]}', "instances"),
        (b'{"instances": [[1, 2, 3, 1e400]]}', "body"),
        (b'{"instances": [{"driver_statistics:conv_rate": 1, "x": 2}]}', "instances"),
        (b'{"instances": [{"driver_id": 1.5}]}', "driver_id"),
        (b'{"instances": [{"driver_id": [1]}]}', "driver_id"),
        (b"\xff\xfe", "body"),
        (b"[" * 100_000, "body"),
    ],
)
def test_what_is_asked_wrongly_is_told(server: Service, body: bytes, word: str) -> None:
    answer = server.ask("POST", f"/v1/models/{NAME}:predict", body)
    assert 400 <= answer.status < 500, answer.body
    assert answer.json["field"] == word, answer.json
    assert answer.json["hint"]


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [{"name": "driver_id", "shape": [2], "datatype": "INT64", "data": [1]}],
        [{"name": "driver_id", "shape": [1, 1, 1], "datatype": "INT64", "data": [1]}],
        [{"name": "driver_id", "shape": [-1], "datatype": "INT64", "data": [1]}],
        [{"name": "driver_id", "shape": [1], "datatype": "COMPLEX", "data": [1]}],
        [{"name": "driver_id", "shape": [99999999999, 99999999999], "datatype": "INT64", "data": [1]}],
        [{"name": "features", "shape": [2, 0], "datatype": "FP64", "data": []}],
        [{"name": "driver_id", "shape": [1], "datatype": "INT64", "data": [1]}] * 2,
        [
            {"name": "driver_id", "shape": [1], "datatype": "INT64", "data": [1]},
            {"name": "other", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        ],
    ],
)
def test_tensors_that_make_no_sense_are_told(server: Service, inputs: list[Any]) -> None:
    answer = server.ask("POST", f"/v2/models/{NAME}/infer", {"inputs": inputs})
    assert 400 <= answer.status < 500, answer.body


def test_health_and_metadata(server: Service) -> None:
    for path in ("/health", "/v1/models", f"/v1/models/{NAME}", "/v2", "/v2/health/live", "/v2/health/ready"):
        assert server.ask("GET", path).status == 200, path
    assert server.ask("GET", f"/v1/models/{NAME}").json == {"name": NAME, "ready": True}
    about = server.ask("GET", f"/v2/models/{NAME}").json
    assert about["inputs"] == [{"name": "driver_id", "datatype": "INT64", "shape": [-1]}]
    assert server.ask("GET", "/v1/models/other").status == 404
    assert server.ask("POST", "/health").status == 405


def counts(server: Service) -> dict[tuple[str, ...], float]:
    text = server.ask("GET", "/metrics").body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_served_is_counted_and_logged(world: World, server: Service) -> None:
    before = counts(server)
    told = predict(server, [{"driver_id": 1001}, {"driver_id": 9999}])["predictions"]
    after = counts(server)

    def grown(*labels: str) -> float:
        return after.get(labels, 0) - before.get(labels, 0)

    assert sum(grown("tiffin_model_predictions_total", NAME, word) for word in ("Loss", "Profit")) == 2
    assert grown("tiffin_model_features_total", "driver_statistics:conv_rate", "NOT_FOUND") == 1
    assert grown("tiffin_model_imputed_total", "driver_statistics:conv_rate") == 1
    assert grown("tiffin_model_score_count", NAME) == 2
    other = world.serve()
    predict(other, [{"driver_id": 1007}])
    other.stop()  # which writes what waits
    lines = [
        json.loads(line) for path in (world.home / "served" / NAME).iterdir() for line in path.read_text().splitlines()
    ]
    (line,) = [each for each in lines if each["keys"] == {"driver_id": 1007} and each["request_id"]][-1:]
    newest = statistics().filter(pl.col("driver_id") == 1007).sort("event_timestamp").tail(1)
    kept = {name: found["value"] for name, found in line["features"].items()}
    assert kept == {
        f"driver_statistics:{name}": newest[name].item()
        for name in ("avg_daily_trips", "conv_rate", "acc_rate", "fare_amount")
    }
    assert set(told[0]) == {"class", "probability", "statuses", "imputed"}


def test_a_caller_needs_the_role_of_a_reader(world: World) -> None:
    from tiffin.registry.access import read_grants
    from tiffin.registry.database import open_database
    from tiffin.registry.tokens import TokenStore

    store = TokenStore(open_database(f"sqlite:///{world.home / 'registry.db'}"))
    reader = store.create("model-reader", read_grants(["default=reader"]), by="test")[1]
    stranger = store.create("model-stranger", read_grants(["food=admin"]), by="test")[1]
    service = world.serve(auth="tokens")
    try:
        path, asked = f"/v1/models/{NAME}:predict", {"instances": [{"driver_id": 1001}]}
        statuses = [
            service.ask("POST", path, asked, **({"Authorization": f"Bearer {token}"} if token else {})).status
            for token in (reader, stranger, "")
        ]
        assert statuses == [200, 403, 401]
        assert service.ask("GET", "/health").status == 200
    finally:
        service.stop()
